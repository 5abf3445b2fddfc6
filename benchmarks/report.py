"""How long reading runs and writing a report takes, as ratios of two sides that are measured in turn.

    python benchmarks/report.py [--repeats 5] [--models 15] [--images 4000] [--records 1000] [--before FOLDER]

Makes a folder of runs (15 models with 3 seeds, 4,000 images each) and one of 1,000 records. It prints how many times as
long as reading the runs their whole report takes, and how many times as long as Python's `json` on the same files
`load_runs` takes on the records. With `--before`, the folder of another checkout of this repository, it prints the
share of that one's time that the report takes here, and of its bytes. Each figure is of processor time, in a fresh
process, the import left out.
"""
import argparse, os, shutil, statistics as st, subprocess, sys, tempfile
from pathlib import Path

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE/'tests'))
from test_report import make_runs

CODE = """
import json, sys, time
from pathlib import Path
from fashion_bench.results.report import report_html
from fashion_bench.results.records import load_runs
def read_json(where): return [json.loads(o.read_text()) for o in Path(where).glob('*/run.json')]
what, where = sys.argv[1:]
start = time.process_time()
out = globals()[what](where)
print(time.process_time() - start, len(out))
"""

def measured(what:str, where:Path, code:Path=HERE):
    "Seconds of a fresh process that calls `what` on the runs in `where`, by the checkout `code`; and the result's size"
    ask, env = [sys.executable, '-c', CODE, what, str(where)], os.environ | dict(PYTHONPATH=str(code), MPLBACKEND='agg')
    done = subprocess.run(ask, capture_output=True, text=True, check=True, env=env, cwd=code)
    return [float(o) for o in done.stdout.split()]

def ratio(repeats:int, first:tuple, second:tuple, k:int=0):
    "The median ratio of two sides, measured in turn; of seconds, or of sizes for `k=1`"
    return st.median(measured(*first)[k]/measured(*second)[k] for _ in range(repeats))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k, v in dict(repeats=5, models=15, images=4000, records=1000).items():
        p.add_argument(f'--{k}', type=int, default=v)
    p.add_argument('--before', type=Path)
    args, folder = p.parse_args(), tempfile.TemporaryDirectory()
    home = Path(folder.name)
    runs, many = make_runs(home/'runs', args.models, 3, images=args.images), home/'many'
    run, left_out = next(runs.glob('timm-model0-*-seed0')), shutil.ignore_patterns('predictions.npz', 'history.csv')
    for i in range(args.records): shutil.copytree(run, many/f'{i}', ignore=left_out)
    n, report = args.repeats, ('report_html', runs)
    times = ratio(n, report, ('load_runs', runs))
    print(f"A report on {3*args.models} runs takes {times:.1f} times as long as reading them")
    times = ratio(n, ('load_runs', many), ('read_json', many))
    print(f"Reading {args.records:,} records takes {times:.1f} times as long as their JSON alone")
    if args.before:
        before = *report, args.before.resolve()
        print(f"The report takes {ratio(n, report, before):.2f} of the time that it took in {args.before}, "
              f"and {ratio(1, report, before, 1):.2f} of the bytes")
    folder.cleanup()
