"""How long reading runs and writing a report takes.

    python benchmarks/report.py [--repeats 5]

Makes a folder of 45 runs (15 models with 3 seeds, 4,000 images each) and one of 1,000 records, and prints the median
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
    p.add_argument('--repeats', type=int, default=5)
    n, folder = p.parse_args().repeats, tempfile.TemporaryDirectory()
    home = Path(folder.name)
    runs = make_runs(home/'runs', 15, 3, images=4000)
    run, left_out = next(runs.glob('timm-model0-*-seed0')), shutil.ignore_patterns('predictions.npz', 'history.csv')
    for i in range(1000): shutil.copytree(run, home/f'many/{i}', ignore=left_out)
    print(f"A report on 45 runs: {st.median(seconds('report_html', runs) for _ in range(n)):.1f} s")
    print(f"Reading 1,000 records: {st.median(seconds('load_runs', home/'many') for _ in range(n)):.2f} s")
    folder.cleanup()
