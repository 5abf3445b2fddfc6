"The README's first command, and its lines of Python, as a newcomer meets them."
import re, subprocess, sys
from pathlib import Path

from fashion_bench.results.leaderboard import leaderboard
from test_cli import fashion_bench

def test_demo_tells_the_pretrained_model_from_the_one_from_scratch(tmp_path):
    r = fashion_bench('demo', '--out', tmp_path/'runs/demo')
    assert r.returncode == 0, r.stdout + r.stderr
    board = leaderboard(tmp_path/'runs/demo')
    assert board.weights.tolist() == ['pretrained in1k', 'scratch', 'scratch'] and set(board.seeds) == {2}
    assert board['rank'].tolist()[0] == '1' # the board's own test tells them apart
    best, scratch, _ = board.valid_accuracy
    assert .99 > best > .7 and scratch < best - .3
    assert 'Guessing gets 16.7 % right' in r.stdout
    assert (tmp_path/'runs/demo/efficiency.png').stat().st_size > 10_000
    # The README's Python says the same in six lines: it finds the demo's runs, and trains nothing again
    readme = (Path(__file__).parent.parent/'README.md').read_text(encoding='utf-8')
    code = re.search(r'```python\n(.*?)```', readme, re.S)[1] + '\nprint(len(board))'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert r.stdout.strip().endswith('3') and r.stdout.count('on disk already') == 6, r.stdout + r.stderr
    forecast = [sys.executable, str(Path(__file__).parent.parent/'benchmarks/forecast.py'), str(tmp_path/'runs/demo')]
    r = subprocess.run(forecast, capture_output=True, text=True)
    assert r.returncode == 0 and re.search(r'first of all +1 runs: off by', r.stdout), r.stdout + r.stderr
