"""How fast models are in use, beside torch in fp32: every format, one photo and 32 at a time.

    python benchmarks/use.py [--models timm/tf_efficientnet_lite0] [--size 112] [--repeats 40] [--uses ONNX,...]

Random weights, since time does not depend on them. All models in all formats are asked in turn, in one process; what
is printed is the median, the 95th percentile, and the ratio to torch in fp32 on the same model, above 1 where the
format is faster.
"""
import argparse, tempfile, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import torch
from fastai.torch_core import set_seed
from fashion_bench.base.files import file_digest, write_json
from fashion_bench.models.registry import expand_models, model_info
from fashion_bench.runs.predictor import _network
from fashion_bench.use.latency import USES, measure_latency
from safetensors.torch import save_file

def make_run(name:str, size:int, classes:int, folder:Path):
    "A folder as a finished run of a model has it, with random weights"
    info = model_info(name)
    facts = dict(model=name, network=f'{info.library}/{info.arch}', head='linear', size=size, interpolation='bilinear',
                 mean=info.mean, std=info.std, classes=[f'class {i}' for i in range(classes)], multilabel=False)
    folder.mkdir()
    save_file({k: v.contiguous() for k,v in _network(facts).state_dict().items()}, folder/'model.safetensors',
              metadata=dict(model=f'"{name}"'))
    write_json(folder/'model.json', facts | dict(digest=file_digest(folder/'model.safetensors')))
    write_json(folder/'run.json', dict(status='finished', spec=dict(model=name, data='none'), figures={}))
    return folder

def ratios(rows:list):
    "Rows with `ratio`, how many times as fast as torch in fp32 with as many photos"
    fp32 = {o['batch']: o['median_ms'] for o in rows if o['format'] == 'torch fp32'}
    return [o | dict(ratio=fp32[o['batch']]/o['median_ms']) for o in rows]

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--models', default='timm/tf_efficientnet_lite0,timm/mobilenetv3_large_075,timm/ghostnet_050')
    p.add_argument('--size', type=int, default=112)
    p.add_argument('--classes', type=int, default=6)
    p.add_argument('--repeats', type=int, default=40)
    p.add_argument('--uses', default=','.join(USES), help='with commas between; torch fp32 is always there')
    o = p.parse_args()
    set_seed(0)
    asked = {'torch fp32', *(k.strip() for k in o.uses.split(','))}
    with tempfile.TemporaryDirectory() as tmp:
        runs = [make_run(name, o.size, o.classes, Path(tmp)/f'{i:03}') for i,name in enumerate(expand_models(o.models))]
        found = measure_latency(runs, [k for k in USES if k in asked], o.repeats, keep=False)
    first = found[0]
    print(f"{first['machine']}, torch {torch.__version__}, {o.size} px, busy with other things {first['busy']:.0%}")
    for name, of_model in zip(expand_models(o.models), found):
        for row in ratios(of_model['rows']):
            print(f"{name:<32} {row['format']:<14} {row['batch']:>2} at once: {row['median_ms']:8.2f} ms "
                  f"(95 %: {row['p95_ms']:8.2f}), {row['ratio']:5.2f} times as fast as torch fp32")
        for k, why in of_model['lost'].items(): print(f'{name:<32} {k}: not measured, {why}')
