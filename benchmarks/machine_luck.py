"""How much the number of threads changes a result, beside how much a seed does.

    python benchmarks/machine_luck.py FOLDER [--model timm/tf_efficientnet_lite0] [--size 96] [--per-class 60]
                                             [--seeds 5] [--epochs 2]

The same model is trained with the same seeds by one thread and by two, each time in a fresh process. Sums are then
rounded in another order, and training makes that large. Printed are the accuracies on the validation and test photos
together, their standard deviation between seeds, that of the difference between the two numbers of threads at one seed,
divided by the square root of 2 to be the share of one run, and the largest difference of a probability.
"""
import argparse, json, os, subprocess, sys, tempfile, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import numpy as np

THREADS = (1, 2)

def train(args, out:str):
    "What a process of so many threads does"
    from fashion_bench.runs.bench import bench
    from fashion_bench.training.recipes import Recipe
    from fashion_bench.data.sources import load_table
    table = load_table(args.folder, subset=f'per_class={args.per_class}')
    recipe = Recipe(args.epochs, 1, bs=args.bs)
    bench(table, args.model, out, size=args.size, recipe=recipe, seeds=args.seeds, isolate=False, keep_model=False)

def outcome(out:str):
    "Accuracy and probabilities by seed"
    found = {}
    for f in Path(out).glob('*/run.json'):
        seed = json.loads(f.read_text())['spec']['seed']
        with np.load(f.parent/'predictions.npz') as p:
            found[seed] = (p['probs'].argmax(1) == p['target']).mean(), p['probs']
    return found

def in_threads(n:int):
    "The outcome of this very command in a process of `n` threads"
    out = tempfile.mkdtemp()
    subprocess.run([sys.executable, *sys.argv, '--out', out], env=dict(os.environ, OMP_NUM_THREADS=str(n)),
                   check=True, stdout=subprocess.DEVNULL)
    return outcome(out)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder')
    p.add_argument('--model', default='timm/tf_efficientnet_lite0')
    for k, v in dict(size=96, per_class=60, seeds=5, epochs=2, bs=32).items():
        p.add_argument(f"--{k.replace('_', '-')}", type=int, default=v)
    p.add_argument('--out', help='Only train, into this folder.')
    args = p.parse_args()
    if args.out: sys.exit(train(args, args.out))
    got = [in_threads(n) for n in THREADS]
    seeds = sorted(got[0])
    accs = np.array([[o[s][0] for s in seeds] for o in got])
    for n, row in zip(THREADS, accs): print(f"{n} thread{'s'*(n > 1)}: " + ' '.join(f'{100*v:.1f}' for v in row))
    between = np.sqrt(accs.var(1, ddof=1).mean())
    machine = np.sqrt(((accs[0] - accs[1])**2).mean()/2)
    worst = max(np.abs(got[0][s][1] - got[1][s][1]).max() for s in seeds)
    print(f'standard deviation between seeds {100*between:.2f} points, of the number of threads at one seed '
          f'{100*machine:.2f}; largest difference of a probability {worst:.2f}')
