"""How long reading runs and writing a report takes.

    python benchmarks/report.py [--repeats 5] [--models 15] [--images 4000] [--records 1000]

Makes a folder of runs (15 models with 3 seeds, 4,000 images each) and one of 1,000 records, and prints the median
seconds of building the report and of `load_runs`, each in a fresh process, the import left out.
"""
import argparse, shutil, statistics as st, subprocess, sys, tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent/'tests'))
from test_report import make_runs

CODE = """
import sys, time
from fashion_bench.results.report import report_html
from fashion_bench.results.records import load_runs
what, where = sys.argv[1:]
start = time.perf_counter()
globals()[what](where)
print(time.perf_counter() - start)
"""

def seconds(what:str, where:Path):
    "How long a call of `what` takes in a fresh process, on the runs in `where`"
    ask = [sys.executable, '-c', CODE, what, str(where)]
    return float(subprocess.run(ask, capture_output=True, text=True, check=True).stdout)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k, v in dict(repeats=5, models=15, images=4000, records=1000).items():
        p.add_argument(f'--{k}', type=int, default=v)
    args, folder = p.parse_args(), tempfile.TemporaryDirectory()
    home = Path(folder.name)
    runs = make_runs(home/'runs', args.models, 3, images=args.images)
    run, left_out = next(runs.glob('timm-model0-*-seed0')), shutil.ignore_patterns('predictions.npz', 'history.csv')
    for i in range(args.records): shutil.copytree(run, home/f'many/{i}', ignore=left_out)
    def median(what, where): return st.median(seconds(what, where) for _ in range(args.repeats))
    print(f"A report on {3*args.models} runs: {median('report_html', runs):.1f} s")
    print(f"Reading {args.records:,} records: {median('load_runs', home/'many'):.2f} s")
    folder.cleanup()
