"Each benchmark runs, with the least of everything; what it prints then means nothing."
import subprocess, sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent/'benchmarks'
SMALL = '--size 32 --bs 8 --repeats 1'
LEAST = dict(
    engines=['--runs 2 --repeats 1'],
    loading=[f'wardrobe {SMALL} --batches 1 --rows 60'],
    growth=['--sizes 800,1600'],
    frozen=[f'speed {SMALL}', 'memory --photos 500 --features 8'],
    machine_luck=['wardrobe --size 32 --bs 8 --per-class 3 --seeds 2 --epochs 1'],
    models=['--size 64 --repeats 1'],
    report=['--repeats 1 --models 2 --images 40 --records 3'],
    retrieval=['speed --photos 40 --features 8 --repeats 1', 'memory --photos 40 --features 8'],
    startup=['--repeats 1 --size 32'],
    training=[f'wardrobe {SMALL} --seeds 1 --per-class 3 --models timm/tf_efficientnet_lite0'],
    use=["--models timm/test_resnet --size 32 --repeats 5 --uses ONNX"])
ELSEWHERE = 'choosing', 'forecast' # tests/test_choose.py, tests/test_demo.py

@pytest.mark.parametrize('name,args', [(k, o) for k,v in LEAST.items() for o in v])
def test_a_benchmark_runs_and_leaves_nothing_where_it_is_called(name, args, tmp_path):
    command = [sys.executable, str(BENCHMARKS/f'{name}.py'), *args.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-2000:]
    assert not list(tmp_path.iterdir())

def test_all_are_here(): assert {o.stem for o in BENCHMARKS.glob('*.py')} == {*LEAST, *ELSEWHERE}
