"""Make the outputs stored in notebooks fit to be kept: pictures at most 720 pixels wide, in few colours, transparent
where they were drawn so; no warnings.
Usage: python tools/slim_outputs.py NOTEBOOK..."""
import base64, io, json, sys
from pathlib import Path
from PIL import Image, ImageChops, ImageFilter

def grey_letters(im:Image.Image):
    "Black letters on no ground, as other libraries write them, in a grey that can be read on a dark page, too"
    black = im.convert('RGB').convert('L').point(lambda v: 255*(v < 12))
    beside_nothing = im.getchannel('A').filter(ImageFilter.MinFilter(7)).point(lambda v: 255*(v == 0))
    grey = Image.merge('RGBA', [Image.new('L', im.size, 0x7f)]*3 + [im.getchannel('A')])
    im.paste(grey, mask=ImageChops.multiply(black, beside_nothing))

def few_colours(im:Image.Image):
    "A drawing in 48 colours, photos in 128; transparency in 8 steps, or none"
    photos = len(im.convert('RGB').getcolors(1 << 24)) > 5000
    if im.getextrema()[3][0] == 255:
        colours = 64 if photos else 24
        return im.convert('RGB').quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    im.putalpha(im.getchannel('A').point(lambda v: round(round(v*7/255)*255/7)))
    return im.quantize(128 if photos else 48, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)

def slim(b64:str):
    "The picture made small; one that was is left as it is"
    raw, out = base64.b64decode(b64), io.BytesIO()
    im = Image.open(io.BytesIO(raw))
    if im.mode == 'P' and im.width <= 720: return b64
    im = im.convert('RGBA')
    grey_letters(im)
    if im.width > 720: im = im.resize((720, round(im.height*720/im.width)), Image.LANCZOS)
    few_colours(im).save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()

for path in map(Path, sys.argv[1:]):
    nb = json.loads(path.read_text(encoding='utf-8'))
    for cell in nb['cells']:
        if 'outputs' in cell: cell['outputs'] = [o for o in cell['outputs'] if o.get('name') != 'stderr']
        for o in cell.get('outputs', []):
            if png := o.get('data', {}).get('image/png'): o['data']['image/png'] = slim(''.join(png))
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n', encoding='utf-8')
