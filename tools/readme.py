"""Write README.md, and the pictures it shows, from nbs/index.ipynb: its text, its code, its stored outputs.
Usage: python tools/readme.py (nbdev-readme does the like with Quarto, which not everybody has)"""
import base64, json, re
from pathlib import Path

ROOT = Path(__file__).parent.parent

def links(text:str):
    "Links between notebooks, as seen from the top folder"
    return re.sub(r'\]\(([\w/]+\.ipynb)', r'](nbs/\1', text)

def markdown_table(html:str):
    "pandas' HTML of a frame as a Markdown table, and what is said below it"
    rows = [re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', o) for o in re.findall(r'<tr.*?</tr>', html, flags=re.S)]
    rows.insert(1, ['---']*len(rows[0]))
    table = '\n'.join(f"| {' | '.join(o)} |" for o in rows)
    return '\n\n'.join([table, *re.findall(r'<p>(.*?)</p>', html, flags=re.S)])

def outputs(cell:dict, files:dict):
    "A cell's stored outputs as Markdown; its pictures are put into `files`"
    alt = re.search(r'^#\| fig-alt: "(.+)"', ''.join(cell['source']), re.M)
    for o in cell.get('outputs', []):
        data = o.get('data', {})
        if png := data.get('image/png'):
            name = f'index_files/picture-{len(files)+1}.png'
            files[name] = base64.b64decode(''.join(png))
            yield f'![{alt[1] if alt else ""}]({name})'
        elif '<table' in (html := ''.join(data.get('text/html', ''))): yield markdown_table(html)
        elif text := ''.join(o.get('text', data.get('text/plain', ''))).rstrip(): yield f'```\n{text}\n```'

def readme():
    "README's text, and its pictures by path"
    nb = json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8'))
    parts, files = [], {}
    for cell in nb['cells']:
        source = ''.join(cell['source'])
        flags = re.findall(r'^#\| *(\w+)', source, flags=re.M)
        if 'hide' in flags: continue
        body = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
        if cell['cell_type'] == 'markdown':
            parts.append(links(body))
            continue
        if body and 'echo' not in flags: parts.append(f'```python\n{body}\n```')
        parts += outputs(cell, files)
    note = '<!-- Made from nbs/index.ipynb by tools/readme.py; edit that. -->'
    return '\n\n'.join([note, *parts]) + '\n', files

if __name__ == '__main__':
    text, files = readme()
    (ROOT/'README.md').write_text(text, encoding='utf-8')
    for path, data in files.items():
        (ROOT/path).parent.mkdir(exist_ok=True)
        (ROOT/path).write_bytes(data)
