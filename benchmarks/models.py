"""What it costs to build a learner, beside fastai's `vision_learner`, and how long the catalogue takes to answer.

    python benchmarks/models.py [--repeats 9]

Both sides take turns in one process, on random weights and the same loaders; what is printed is the median of the
ratios of neighbours.
"""
import argparse, statistics as st, subprocess, sys, time, warnings

warnings.filterwarnings('ignore')
import torchvision
from fastai.vision.all import *
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.sources import load_table
from fashion_bench.models.learner import fashion_learner
from fashion_bench.models.registry import model_inputs

# Our name of a network, and what fastai takes for it
NETWORKS = {
    'torchvision/resnet34': torchvision.models.resnet34,
    'torchvision/resnet50': torchvision.models.resnet50,
    'timm/tf_efficientnet_lite0': 'tf_efficientnet_lite0',
    'timm/vit_small_patch16_224': 'vit_small_patch16_224'}

def clock(f):
    "Seconds that a call of `f` takes"
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

def turns(table:pd.DataFrame, name:str, size:int, repeats:int):
    "(seconds of `vision_learner`, seconds of `fashion_learner`), `repeats` times after a warm-up"
    dls = fashion_dls(table, **model_inputs(name, size), num_workers=0)
    def theirs(): return vision_learner(dls, NETWORKS[name], pretrained=False, normalize=False)
    def ours(): return fashion_learner(dls, name, 'scratch')
    for f in (theirs, ours): f()
    return [(clock(theirs), clock(ours)) for _ in range(repeats)]

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--size', type=int, default=224)
    o = p.parse_args()
    table = load_table('wardrobe')
    print(f'Seconds to build a learner at {o.size} px, {torch.get_num_threads()} threads')
    for name in NETWORKS:
        pairs = turns(table, name, o.size, o.repeats)
        a, b = zip(*pairs)
        ratio = st.median(y/x for x,y in pairs)
        print(f'{name:<30} vision_learner {st.median(a):.3f}, fashion_learner {st.median(b):.3f}, ratio {ratio:.2f}')
    ask = [sys.executable, '-m', 'fashion_bench', 'models', 'resnet', '--max-params', '30M']
    answers = [clock(lambda: subprocess.run(ask, capture_output=True)) for _ in range(min(5, o.repeats))]
    print(f'Seconds for `fashion-bench models`: {st.median(answers):.2f}')
