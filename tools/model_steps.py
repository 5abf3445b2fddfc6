"""Train a real step of every torchvision network and of 60 of timm's, the smallest of as many families, and keep what
happened in nbs/models/model_steps.csv.

    python tools/model_steps.py

On random weights and two random images, at 96 pixels where the network takes that, else at its own size.
"""
import sys, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd, torch
from torch import nn
from fashion_bench.data.splits import seeded_order
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.catalogue import model_facts
from fashion_bench.models.groups import even_groups
from fashion_bench.models.learner import fastai_head

DEST = Path(__file__).parent.parent/'nbs/models/model_steps.csv'

def sample(n:int=60):
    "A network per architecture of torchvision, and the smallest of each of `n` families of timm"
    df = model_facts().assign(arch=lambda o: o.name.str.partition('.')[0])
    tv = df[df.library == 'torchvision'].drop_duplicates('arch')
    taken = df[(df.library == 'timm') & (df.refused == '')]
    small = taken.sort_values(['parameters', 'name']).drop_duplicates('family')
    drawn = small.assign(key=seeded_order(small.family).values).sort_values('key')[:n]
    return pd.concat([tv, drawn.sort_values('name')])

def step(name:str, size:int):
    "'' if a training step moves every group of parameters, else why not"
    bb = build_backbone(name, 'scratch', size)
    model = nn.Sequential(bb, fastai_head(bb.nf, 4, bb.spatial)).train()
    opt = torch.optim.SGD(model.parameters(), lr=.1)
    groups = even_groups(model)
    before = [[p.detach().clone() for p in g] for g in groups]
    loss = nn.functional.cross_entropy(model(torch.randn(2, 3, size, size)), torch.tensor([0, 1]))
    loss.backward()
    opt.step()
    if not loss.isfinite(): return 'loss is not finite'
    same = [all(torch.equal(x, p) for x,p in zip(a, g)) for a,g in zip(before, groups)]
    still = [i for i,o in enumerate(same) if o]
    return f'groups {still} did not move' if still else ''

def reason(e:Exception):
    "An error's kind and its first line"
    kind = type(e).__name__
    return f'{kind}: {str(e).splitlines()[0][:120]}' if str(e) else kind

def attempt(name:str, own:int):
    "(size, outcome) of the first size that works, or of the last"
    for size in dict.fromkeys((min(96, own), own)):
        try: why = step(name, size)
        except Exception as e: why = reason(e)
        if not why: break
    return size, why

if __name__ == '__main__':
    rows = []
    for r in sample().itertuples():
        too_large = r.parameters == r.parameters and r.parameters > 320e6 # not equal to itself: not known
        size, why = (r.size, 'not tried: over 320 M parameters') if too_large else attempt(r.name, r.size)
        rows.append((r.name, size, why))
        print(*rows[-1], file=sys.stderr, flush=True)
    pd.DataFrame(rows, columns=['name', 'size', 'problem']).to_csv(DEST, index=False, lineterminator='\n')
