"""Build every model that can be asked for, run it once, and write what it is to fashion_bench/models/model_facts.csv.

    python tools/model_facts.py [PATTERN]

Networks are built without values (torch's meta device), so that all of them take minutes. A model that cannot be built
or run is listed with the reason. To be run again when a library is upgraded.
"""
import fnmatch, sys, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import open_clip, pandas as pd, timm, torch, torchvision
from fashion_bench.models.backbones import NETS, Backbone
from fashion_bench.models.registry import NAMES, model_info
from fashion_bench.models.speed import multiply_adds

DEST = Path(__file__).parent.parent/'fashion_bench/models/model_facts.csv'

def family(info):
    "The name under which a library groups a model: the module of its builder"
    if info.library == 'timm': return timm.models._registry._model_to_module[info.arch]
    if info.library == 'open_clip': return 'open_clip'
    if info.library != 'torchvision': return 'xresnet'
    return torchvision.models.get_model_builder(info.arch).__module__.rpartition('.')[2]

def facts(info, device:str='meta'):
    "Parameters and multiply-adds of a model without its classifier, at its own size"
    with torch.device(device), torch.no_grad():
        body = Backbone(NETS[info.library](info), info).eval()
        out = body(torch.zeros(1, 3, info.size, info.size))
        features = isinstance(out, torch.Tensor) and out.ndim in (2, 4)
        if not features: raise ValueError('its features are neither a map nor a vector')
        return dict(parameters=sum(p.numel() for p in body.parameters()), multiply_adds=multiply_adds(body, info.size))

def reason(e:Exception):
    "An error's kind and its first line"
    kind = type(e).__name__
    return f'{kind}: {str(e).splitlines()[0][:100]}' if str(e) else kind

def facts_or_reason(info):
    "A model's facts, or why it was refused"
    try:
        try: found = facts(info)
        except NotImplementedError: found = facts(info, 'cpu') # some look at values while they are built
        return dict(found, refused='')
    except Exception as e: return dict(refused=reason(e))

def tags(arch:str, library:str):
    "What an architecture's sets of weights are called"
    if library == 'timm': return [o.partition('.')[2] for o in timm.list_pretrained(f'{arch}.*')]
    if library == 'torchvision': return [o.name for o in torchvision.models.get_model_weights(arch)]
    if library == 'open_clip': return open_clip.list_pretrained_tags_by_model(arch)
    return []

def rows(arch:str, library:str):
    "A row per set of weights of an architecture, at least one"
    by_size, out = {}, []
    for tag in tags(arch, library) or ['']:
        info = model_info(f'{library}/{arch}' + (f'.{tag}' if tag else ''))
        if info.size not in by_size: by_size[info.size] = facts_or_reason(info)
        named = dict(name=info.name, library=library, family=family(info), size=info.size, pretrained=info.pretrained,
                     licence=info.licence)
        out.append(dict(named, **by_size[info.size]))
    return out

def architectures(pattern:str):
    "(architecture, library) of every model whose name fits `pattern`"
    known = {l: timm.list_models() if l == 'timm' else NAMES[l]() for l in NAMES}
    return [(o, l) for l,names in known.items() for o in names if fnmatch.fnmatch(f'{l}/{o}', pattern)]

if __name__ == '__main__':
    pattern, start = (sys.argv[1:] or ['*'])[0], time.time()
    df = pd.DataFrame([r for o in architectures(pattern) for r in rows(*o)]).drop_duplicates('name')
    df['parameters'], df['multiply_adds'] = df.parameters.astype('Int64'), df.multiply_adds.astype('Int64')
    dest = DEST if pattern == '*' else Path('/dev/stdout')
    df.to_csv(dest, index=False, lineterminator='\n')
    print(f'{len(df)} models, {(df.refused != "").sum()} refused, {time.time()-start:.0f} s', file=sys.stderr)
