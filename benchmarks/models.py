"""What it costs to build a learner, beside fastai's `vision_learner`, and how long the catalogue takes to answer.

    python benchmarks/models.py [--repeats 9]

Both sides take turns in one process, on random weights and the same loaders; what is printed is the median of the ratios of neighbours.
"""
import argparse, statistics as st, subprocess, sys, time, warnings

warnings.filterwarnings('ignore')
import torchvision
from fastai.vision.all import *
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.sources import load_table
from fashion_bench.models.learner import fashion_learner
from fashion_bench.models.registry import model_inputs

def clock(f):
    start = time.perf_counter(); f()
    return time.perf_counter() - start

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--size', type=int, default=224)
    o = p.parse_args()
    table = load_table('wardrobe')
    print(f'Seconds to build a learner at {o.size} px, {torch.get_num_threads()} threads')
    for name, arch in (('torchvision/resnet34', torchvision.models.resnet34), ('torchvision/resnet50', torchvision.models.resnet50), ('timm/tf_efficientnet_lite0', 'tf_efficientnet_lite0'), ('timm/vit_small_patch16_224', 'vit_small_patch16_224')):
        dls = fashion_dls(table, **model_inputs(name, o.size), num_workers=0)
        sides = dict(vision_learner=lambda: vision_learner(dls, arch, pretrained=False, normalize=False), fashion_learner=lambda: fashion_learner(dls, name, 'scratch'))
        for f in sides.values(): f()
        turns = [[clock(f) for f in sides.values()] for _ in range(o.repeats)]
        a, b = zip(*turns)
        print(f'{name:<30} vision_learner {st.median(a):.3f}, fashion_learner {st.median(b):.3f}, ratio {st.median(y/x for x,y in turns):.2f}')
    ask = [sys.executable, '-m', 'fashion_bench', 'models', 'resnet', '--max-params', '30M']
    print(f'Seconds for `fashion-bench models`: {st.median(clock(lambda: subprocess.run(ask, capture_output=True)) for _ in range(5)):.2f}')
