"""Say how good each model may be expected to be, from what others have published, in fashion_bench/models/prior.csv.

    python tools/prior.py PUBLISHED [--check]

PUBLISHED is a folder with four tables: `finetuned_11_cnn.csv` (Shao et al., Not all models are equal, ECCV 2022),
`finetuned_13_vit.csv` (Meng et al., Foundation model is efficient multimodal multitask model selector, NeurIPS 2023),
`finetuned_fastai_timm.csv` (tcapelle/fastai_timm on GitHub) and `imagenet_top1_timm.csv` (results-imagenet.csv of
huggingface/pytorch-image-models). Log odds of being right are explained by the data set, by those on ImageNet, and by
the model itself as far as it was fine-tuned: a linear model with a random effect of the model. A score is what it
expects of a model on a new set, above that of torchvision/resnet50. `--check` leaves out each set in turn instead, and
prints how well the rest foretells it.
"""
import argparse, warnings
from datetime import date
from pathlib import Path

warnings.filterwarnings('ignore')
import numpy as np, pandas as pd, torchvision
from scipy.stats import weightedtau
from statsmodels.formula.api import mixedlm
from fashion_bench.base.errors import InputError
from fashion_bench.models.registry import model_info

DEST = Path(__file__).parent.parent/'fashion_bench/models/prior.csv'
VIT = dict(deit_tiny='deit_tiny_patch16_224.fb_in1k', deit_small='deit_small_patch16_224.fb_in1k',
           deit_base='deit_base_patch16_224.fb_in1k', dino_small='vit_small_patch16_224.dino',
           dino_base='vit_base_patch16_224.dino', pvtv2_b2='pvt_v2_b2.in1k', pvtv2_b3='pvt_v2_b3.in1k',
           swin_t='swin_tiny_patch4_window7_224.ms_in1k', swin_s='swin_small_patch4_window7_224.ms_in1k')

def logit(percent): return np.log(percent/(100 - percent))

def full_name(name:str):
    "A name with its tag, or nothing if no library has it any more"
    try: return model_info(name).name
    except InputError: return None

def top1(folder:Path)->pd.Series:
    "ImageNet accuracy in percent, by full name"
    df = pd.read_csv(folder/'imagenet_top1_timm.csv')
    timm = dict(zip('timm/' + df.model, df.top1))
    for arch in torchvision.models.list_models(module=torchvision.models):
        for w in torchvision.models.get_model_weights(arch):
            timm[f'torchvision/{arch}.{w.name}'] = w.meta['_metrics']['ImageNet-1K']['acc@1']
    return pd.Series(timm)

def finetuned(folder:Path)->pd.DataFrame:
    "A row per model and data set: `name`, `set`, `y`"
    cnn = pd.read_csv(folder/'finetuned_11_cnn.csv').melt('model', var_name='set', value_name='percent')
    cnn = cnn.assign(name='torchvision/' + cnn.model + '.IMAGENET1K_V1', set='cnn ' + cnn.set)
    vit = pd.read_csv(folder/'finetuned_13_vit.csv').melt('model', var_name='set', value_name='percent')
    vit = vit.assign(name=['timm/' + VIT[o] if o in VIT else None for o in vit.model], set='vit ' + vit.set)
    fai = pd.read_csv(folder/'finetuned_fastai_timm.csv')
    names = {o: full_name(f'timm/{o}') for o in fai.model_name.unique()}
    fai = fai.assign(name=fai.model_name.map(names), set='fastai ' + fai.dataset, percent=100*(1 - fai.error_rate))
    found = pd.concat([cnn, vit, fai])[['name', 'set', 'percent']].dropna()
    return found.assign(y=logit(found.percent)).reset_index(drop=True)

def scores(rows:pd.DataFrame, imagenet:pd.Series)->pd.Series:
    "Expected log odds on a new set, above those of torchvision/resnet50, by full name"
    x = imagenet.map(logit)
    tuned = pd.Index(rows.name.unique())
    x = x.reindex(x.index.union(tuned)).fillna(x[x.index.intersection(tuned)].mean()) # of what is no classifier itself
    fitted = mixedlm('y ~ C(set) + x', rows.assign(x=rows.name.map(x)), groups=rows.name).fit()
    own = pd.Series({k: v.iloc[0] for k,v in fitted.random_effects.items()})
    found = fitted.params['x']*x + own.reindex(x.index).fillna(0)
    return found - found['torchvision/resnet50.IMAGENET1K_V1']

def check(rows:pd.DataFrame, imagenet:pd.Series)->pd.DataFrame:
    "For each set: weighted Kendall's tau with it of the score made without it, and of ImageNet accuracy"
    out = []
    for name, held in rows.groupby('set'):
        target = name.split()[1]
        rest = rows[[o.split()[1] != target for o in rows.set]]
        held = held[held.name.isin(imagenet.index)]
        prior = scores(rest, imagenet)[held.name]
        out.append((name, len(held), weightedtau(prior, held.y)[0], weightedtau(imagenet[held.name], held.y)[0]))
    return pd.DataFrame(out, columns=['set', 'models', 'prior', 'imagenet'])

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('published', type=Path)
    p.add_argument('--check', action='store_true')
    args = p.parse_args()
    rows, imagenet = finetuned(args.published), top1(args.published)
    if args.check:
        df = check(rows, imagenet)
        print(df.round(2).to_string(index=False))
        print(df.groupby(df.set.str.split().str[0])[['prior', 'imagenet']].mean().round(2))
    else:
        found = scores(rows, imagenet).round(3).rename('score').to_frame().rename_axis('name')
        found['sets'] = rows.groupby('name').set.nunique().reindex(found.index).fillna(0).astype(int)
        found['top1'] = imagenet.reindex(found.index)
        said = (f'# What tools/prior.py expected of each model on {date.today()}: log odds above torchvision/resnet50; '
                'fine-tuned figures from Shao et al. 2022, Meng et al. 2023 and tcapelle/fastai_timm, '
                'ImageNet top-1 from pytorch-image-models (August 2026) and torchvision\n')
        DEST.write_text(said + found.sort_values('score', ascending=False).to_csv(), encoding='utf-8')
        print(f'{len(found)} models: {DEST}')
