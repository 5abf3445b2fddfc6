"The README's first command, and its lines of Python, as a newcomer meets them."
import re, subprocess, sys
from pathlib import Path

from fashion_bench.results.records import load_runs
from test_cli import fashion_bench

def test_demo_ranks_three_models_and_the_pretrained_ones_lead(tmp_path):
    r = fashion_bench('demo', '--out', tmp_path/'runs/demo')
    assert r.returncode == 0, r.stdout + r.stderr
    runs = load_runs(tmp_path/'runs/demo').sort_values('valid_accuracy', ascending=False)
    assert runs.weights.tolist() == ['pretrained in1k', 'pretrained in1k', 'scratch']
    assert .95 > runs.valid_accuracy.iloc[0] and runs.valid_accuracy.iloc[1] > runs.valid_accuracy.iloc[2] + .1
    assert (tmp_path/'runs/demo/efficiency.png').exists()
    # The README's Python says the same in six lines: it finds the demo's runs, and trains nothing again
    readme = (Path(__file__).parent.parent/'README.md').read_text(encoding='utf-8')
    code = re.search(r'```python\n(.*?)```', readme, re.S)[1] + '\nprint(len(board))'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert r.stdout.strip().endswith('3') and r.stdout.count('on disk already') == 3, r.stdout + r.stderr
