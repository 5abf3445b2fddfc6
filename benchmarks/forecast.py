"""How far off is the time left that a benchmark shows?

    python benchmarks/forecast.py RUNS...

Takes folders of finished runs, and lets `Forecast` hear the epochs of each again, with the seconds that they took. What
it says after the first epoch of the first run, and of each run that follows, is held against what was left in truth, by
the middle of its range (the geometric mean).
"""
import argparse, statistics as st, sys
from pathlib import Path

import numpy as np, pandas as pd
from fashion_bench.base.record import read_record
from fashion_bench.follow.forecast import Forecast
from fashion_bench.runs.run import read_spec

class Clock:
    "Is put forward by what runs took"
    def __init__(self): self.t = 0.
    def __call__(self): return self.t

def read_runs(folder:Path):
    "Spec, seconds, those of each epoch and of its first batch, and photos of every run, in the order of their starts"
    found = []
    for file in folder.glob('*/history.csv'):
        record = read_record(file.parent)
        if not record or record['status'] != 'finished' or record.get('resumed'): continue
        h = pd.read_csv(file)
        spec = read_spec(record['spec'])
        first = h.warmup_seconds + h.train_seconds/h.images*spec.recipe.bs
        epochs = list(zip(h.train_seconds + h.valid_seconds, first))
        run = spec, record['seconds'], epochs, record['data']['images']
        found.append((record['started'], run))
    return [run for _,run in sorted(found, key=lambda o: o[0])]

def heard(left:Forecast, clock:Clock, spec, seconds:float, epochs:list):
    "Let `left` hear a run; yields after each epoch what is left of it in truth"
    left.begin(spec)
    for nth, (took, warmup) in enumerate(epochs, 1):
        left.on_event(spec, dict(event='epoch', nth=nth))
        for passes, n in ((warmup, 1), (took - warmup, left.per_epoch[spec.id] - 1)):
            clock.t += passes
            left.on_event(spec, dict(event='batches', n=n))
        left.on_event(spec, dict(event='accuracy', value=0.))
        yield sum(o for o,_ in epochs[nth:])
    left.end(spec, seconds)

def errors(runs:list)->pd.DataFrame:
    "What was said of a run after its first epoch, of the first of its model and of others, and what was true"
    images = runs[0][3]
    table, clock = pd.DataFrame(dict(split=np.repeat(list(images), list(images.values())))), Clock()
    left, rows, models = Forecast([o[0] for o in runs], table, now=clock), [], set()
    for spec, seconds, epochs, _ in runs:
        for nth, truth in enumerate(heard(left, clock, spec, seconds, epochs)):
            if nth: continue
            low, high = (o*60 for o in left.run(spec))
            which = 'another seed' if spec.model in models else 'first of its model' if models else 'first of all'
            rows.append(dict(run=which, off=(low*high)**.5/truth - 1))
        models.add(spec.model)
    return pd.DataFrame(rows)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('runs', nargs='+', type=Path, help='Folders of runs.')
    for folder in p.parse_args().runs:
        if not (runs := read_runs(folder)): sys.exit(f'no run in {folder} has trained')
        found = errors(runs)
        print(f'\n{folder.name}: what is said of a run after its first epoch')
        for which, rows in found.groupby('run'):
            off = rows.off.abs()
            print(f'{which:18s} {len(rows):4d} runs: off by {st.median(off):.0%} in the middle, by less than '
                  f'{off.quantile(.9):.0%} in nine of ten')
