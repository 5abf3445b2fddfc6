"""Make the outputs stored in notebooks fit to be kept: pictures at most 720 pixels wide, on white, in 24 colours, or
64 where there are photos; no warnings.
Usage: python tools/slim_outputs.py NOTEBOOK..."""
import base64, io, json, sys
from pathlib import Path
from PIL import Image

def slim(b64:str):
    "The picture made small; one that was is left as it is"
    raw, out = base64.b64decode(b64), io.BytesIO()
    im = Image.open(io.BytesIO(raw))
    if im.mode == 'P' and im.width <= 720: return b64
    if im.mode == 'RGBA': im = Image.alpha_composite(Image.new('RGBA', im.size, 'white'), im)
    im = im.convert('RGB')
    if im.width > 720: im = im.resize((720, round(im.height*720/im.width)), Image.LANCZOS)
    colours = 64 if len(im.getcolors(1 << 24)) > 5000 else 24 # photos, or a drawing
    im = im.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    im.save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()

for path in map(Path, sys.argv[1:]):
    nb = json.loads(path.read_text(encoding='utf-8'))
    for cell in nb['cells']:
        if 'outputs' in cell: cell['outputs'] = [o for o in cell['outputs'] if o.get('name') != 'stderr']
        for o in cell.get('outputs', []):
            if png := o.get('data', {}).get('image/png'): o['data']['image/png'] = slim(''.join(png))
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n', encoding='utf-8')
