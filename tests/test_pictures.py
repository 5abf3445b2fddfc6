"""What people see in pictures: names in every script, none below another, units, light and dark pages, phones, and
words for those who see none of it."""
import base64, io, json, re, warnings
from pathlib import Path

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image
from fashion_bench.base import figures
from fashion_bench.base.figures import CYCLE, INKS, PHONE, look
from fashion_bench.data import pictures as of_data
from fashion_bench.results import choosing, photos as of_photos, plots, schedules
from fashion_bench.results.page import figure_html
from fashion_bench.results.reference import reference_2021

ROOT = Path(__file__).parent.parent
NAMES = ['羽绒服', 'ワンピース', '👗 dress', '$_$', '$50-$100', '한복']

def many(n, names=None):
    "Figures of `n` models, of which the large ones take longer and are better"
    rng = np.random.default_rng(n)
    size = np.exp(rng.normal(16.5, 1, n))
    entry = names or [f"{['resnet', 'efficientnet_lite', 'convnext_small.in12k'][i % 3]}{i}" for i in range(n)]
    accuracy = .6 + .07*np.log(size/1e6) + .03*rng.normal(size=n)
    df = pd.DataFrame(dict(entry=entry, accuracy=accuracy, minutes_per_epoch=np.exp(rng.normal(-1, .9, n)), rank='1',
                           low=accuracy - .03, high=accuracy + .03, split='test', parameters=size,
                           multiply_adds=size*60, busy=False))
    df.attrs['for_nothing'] = dict(guess=.1, largest=.2)
    return df.sort_values('accuracy', ascending=False, ignore_index=True)

@pytest.fixture
def photos(tmp_path):
    "A table of six photos each of six classes"
    rows = [(f'{i}-{k}.jpg', c, ['train', 'train', 'train', 'train', 'valid', 'test'][k])
            for i,c in enumerate(NAMES) for k in range(6)]
    for o,_,_ in rows: Image.new('RGB', (40, 60), to_hex(f'C{o[0]}')).save(tmp_path/o)
    return pd.DataFrame(rows, columns=['image', 'label', 'split']).assign(root=str(tmp_path))

def every_plot(photos, n=6):
    "Each picture of frames, with names that are hard to draw"
    df = many(n, [f'{NAMES[i % 6]} {i}' for i in range(n)])
    curves = pd.concat([pd.DataFrame(dict(entry=o, seed=1, epoch=range(1, 5), phase=['frozen', *['unfrozen']*3],
                                          valid_accuracy=.5)) for o in df.entry])
    told = pd.DataFrame([{'class': c, 'entry': o, 'recall': .5, 'images': 9} for c in NAMES for o in df.entry])
    wrong = photos.assign(true=photos.label, said='帽子', share_said=.5, correct=.5)
    near = pd.DataFrame(dict(query='0-4.jpg', product='帽子', first=2, place=[1, 2], photo=['1-4.jpg', '0-5.jpg'],
                             right=[False, True]))
    rates = pd.DataFrame(dict(step=range(20), phase=['frozen']*5 + ['unfrozen']*15, lr_0=1e-4, lr_1=1e-3))
    return dict(
        plot_efficiency=lambda: plots.plot_efficiency(df), plot_accuracy=lambda: plots.plot_accuracy(df),
        plot_pareto=lambda: plots.plot_pareto(df), plot_weights=lambda: plots.plot_weights(df),
        plot_histories=lambda: plots.plot_histories(curves), plot_classes=lambda: plots.plot_classes(told),
        plot_confusion=lambda: plots.plot_confusion(pd.DataFrame(1, index=NAMES, columns=NAMES)),
        plot_images=lambda: of_photos.plot_images(wrong),
        plot_nearest=lambda: of_photos.plot_nearest(near, photos.root[0]),
        plot_rates=lambda: schedules.plot_rates(rates),
        **{o: lambda o=o: getattr(of_data, o)(photos) for o in of_data.__all__})

def figure_of(drawn): return getattr(drawn, 'figure', None) or drawn.flat[0].figure

@pytest.fixture(autouse=True)
def closed():
    "Figures of a test go with it"
    yield
    plt.close('all')

def test_whatever_is_drawn_is_drawn_as_written(photos):
    "Names of users are no formulas, and have a font: whoever adds a plot wraps it"
    homes = (plots, schedules, choosing, of_data, of_photos)
    public = {o: getattr(home, o) for home in homes for o in home.__all__ if o.startswith('plot_')}
    assert len(public) >= 15 and [o for o in public if not hasattr(public[o], '__wrapped__')] == []
    assert {*public} - {*every_plot(photos)} == {'plot_schedules', 'plot_choice'} # of run folders: in their notebooks

@pytest.fixture
def fonts(monkeypatch):
    "No font but matplotlib's own, whatever is installed here; and nobody was told of any"
    known = figures.font_manager.fontManager
    monkeypatch.setattr(known, 'ttflist', [o for o in known.ttflist if 'mpl-data' in o.fname])
    monkeypatch.setattr(figures, '_look_for_fonts', lambda: None)
    monkeypatch.setattr(figures, '_told', set())
    return known

def test_a_font_that_is_missing_is_named_once(photos, fonts):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        for draw in every_plot(photos).values(): figure_of(draw()).draw_without_rendering()
    assert len(seen) == 1, [str(o.message) for o in seen]
    said = str(seen[0].message)
    assert 'Install Noto Emoji and Noto Sans CJK, from https://' in said and '👗' in said

def one_font(path, letters, family):
    "A font in which each of `letters` is a square"
    pen = TTGlyphPen(None)
    for i,o in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]): (pen.lineTo if i else pen.moveTo)(o)
    pen.closePath()
    square, font = pen.glyph(), FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(['.notdef', 'square'])
    font.setupCharacterMap({ord(o): 'square' for o in letters})
    font.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'square': square})
    font.setupHorizontalMetrics({'.notdef': (800, 0), 'square': (800, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable(dict(familyName=family, styleName='Regular'))
    font.setupOS2()
    font.setupPost()
    font.save(path)

def test_letters_are_taken_from_whichever_font_has_them(photos, fonts, tmp_path):
    for family, letters in dict(Kanji='羽绒服帽子', Rest='ワンピース👗한복').items():
        one_font(tmp_path/f'{family}.ttf', letters, family)
        fonts.addfont(tmp_path/f'{family}.ttf')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for name, draw in every_plot(photos).items():
            figure = figure_of(draw())
            figure.draw_without_rendering()
            for o in figure.findobj(Text):
                if '羽' in o.get_text(): assert {'Kanji', 'Rest'} <= {*o.get_fontfamily()}, name

def boxes(texts): return [Text.get_window_extent(o) for o in texts if o.get_text()]

def crossings(ax):
    "How many pairs of names lie over each other, and how many names over a point or the front"
    ax.figure.canvas.draw()
    found, scale = boxes(ax.texts), ax.figure.dpi/72
    points = ax.transData.transform(np.asarray(ax.collections[0].get_offsets()))
    front = ax.transData.transform(np.asarray(ax.lines[0].get_path().cleaned().vertices[:-1]))
    steps = np.repeat(front, 2, 0)
    steps = np.column_stack([steps[1:, 0], steps[:-1, 1]])
    line = matplotlib.path.Path(steps)
    pairs = sum(a.overlaps(b) for i,a in enumerate(found) for b in found[:i])
    on_points = sum(o.padded(2*scale).contains(*p) for o in found for p in points)
    return pairs, on_points, sum(line.intersects_bbox(o, filled=False) for o in found)

@pytest.mark.parametrize('phone', [False, True])
@pytest.mark.parametrize('cost', ['minutes_per_epoch', 'parameters'])
@pytest.mark.parametrize('n', [15, 45])
def test_no_name_lies_over_another_a_point_or_the_front(n, cost, phone):
    with look(phone=phone): ax = plots.plot_pareto(many(n), cost)
    assert crossings(ax) == (0, 0, 0)
    left_out = re.search(r'(\d+) of \d+ names are left out', ax.get_xlabel())
    assert len(ax.texts) + int(left_out[1] if left_out else 0) == n
    assert len(ax.texts) >= (n*.4 if phone else n if n == 15 else 30), f'{len(ax.texts)} of {n} names'

def test_the_post_s_own_models_all_have_their_names():
    with look(): ax = plots.plot_pareto(reference_2021())
    assert crossings(ax) == (0, 0, 0) and len(ax.texts) == 14 and 'left out' not in ax.get_xlabel()

def tick_texts(axis):
    "The labels that are seen on it"
    low, high = sorted(axis.get_view_interval())
    return [o.get_text() for o in axis.get_ticklabels() if low <= o.get_position()[axis.axis_name == 'y'] <= high]

@pytest.mark.parametrize('cost, label, figures', [
    ('minutes_per_epoch', 'seconds per epoch', r'[\d.]+'), ('parameters', 'parameters', r'[\d.]+ [MG]'),
    ('multiply_adds', 'multiply-adds', r'[\d.]+ [MG]')])
def test_costs_are_written_as_people_write_them(cost, label, figures):
    df = many(15)
    ax = plots.plot_pareto(df.assign(minutes_per_epoch=df.minutes_per_epoch/30), cost)
    ax.figure.canvas.draw()
    ticks = tick_texts(ax.xaxis)
    assert ax.get_xlabel().split('\n')[0] == label
    assert len(ticks) >= 2 and all(re.fullmatch(figures, o) for o in ticks), ticks

def test_a_balanced_dataset_is_drawn_without_a_legend_on_bars_or_half_ticks(photos):
    for table in (photos, photos[photos.label.isin(NAMES[:3])], photos[photos.label == NAMES[0]]):
        figure = of_data.plot_dataset(table)
        figure.canvas.draw()
        counts, tail = figure.axes[1:]
        legend = counts.get_legend().get_window_extent()
        assert not any(legend.overlaps(o.get_window_extent()) for o in counts.patches)
        needed = figure.get_tightbbox() # in inches
        assert needed.x0 > -.02 and needed.x1 < figure.get_figwidth() + .02, needed
        note = Text.get_window_extent(tail._left_title)
        assert note.y0 >= tail.get_window_extent().y1 # above, not on the steps
        ticks = tick_texts(counts.xaxis) + tick_texts(tail.xaxis)
        assert ticks and not [o for o in ticks if not o.replace(',', '').isdigit()], ticks

def test_long_names_take_rows_as_high_as_they_are():
    long = many(12, [f'tf_efficientnet_lite{i} (file some-weights-of-{i}.safetensors, fine_tune(3, freeze_epochs=1), '
                     'bs=32, weights 6859ac)' for i in range(12)])
    for draw in (plots.plot_efficiency, plots.plot_accuracy, plots.plot_weights):
        ax = draw(long)
        ax.figure.canvas.draw()
        names = boxes(ax.texts[-12:] if draw is plots.plot_weights else ax.get_yticklabels())
        names = [o for o in names if o.height > 20]
        assert len(names) == 12 and not any(a.overlaps(b) for i,a in enumerate(names) for b in names[:i]), draw.__name__

def contrast(a, b):
    "Of two colours, as WCAG has it"
    def light(o): return sum(w*(v/12.92 if v <= .04 else ((v + .055)/1.055)**2.4)
                             for w,v in zip((.2126, .7152, .0722), to_rgb(o)))
    less, more = sorted(map(light, (a, b)))
    return (more + .05)/(less + .05)

def test_lines_and_letters_are_seen_on_white_and_on_black():
    with look(): ax = plots.plot_weights(many(9))
    drawn = {to_hex(o) for o in [*CYCLE, *(o.get_color() for o in [*ax.lines, *ax.texts])]}
    for paper in ('white', '#222222'): assert [o for o in drawn if contrast(o, paper) < 3] == []
    assert contrast(INKS[False], 'white') > 7 and contrast(INKS[True], '#1e1e1e') > 7

@pytest.mark.filterwarnings('error:constrained_layout not applied')
@pytest.mark.parametrize('n', [1, 6])
@pytest.mark.parametrize('phone', [False, True])
def test_nothing_is_cut_and_letters_on_a_phone_are_large_enough(photos, phone, n):
    compare = 'plot_efficiency', 'plot_weights', 'plot_pareto'
    for name, draw in every_plot(photos, n).items():
        if n == 1 and name in compare: continue
        with look(phone=phone): figure = figure_of(draw())
        figure.draw_without_rendering()
        needed = figure.get_tightbbox() # in inches
        assert needed.x0 > -.02 and needed.x1 < figure.get_figwidth() + .02, (name, needed.extents)
        assert min(o.get_fontsize() for o in figure.findobj(Text)) >= 7, name
        if phone: assert figure.get_figwidth() <= PHONE, name # which it shows without making it smaller
        plt.close(figure)

def test_a_page_s_picture_is_drawn_for_phones_and_takes_the_page_s_colours():
    html = figure_html(lambda: plots.plot_accuracy(many(4)), 'Four models')
    widths = [float(o) for o in re.findall(r'<svg[^>]* width="([\d.]+)pt"', html)]
    assert np.allclose(widths, [7*72, PHONE*72], atol=1) and html.count('aria-label="Four models"') == 2
    assert INKS[False] in html and INKS[True] not in html and '#ffffff' not in html # dark is the style
    assert '>accuracy on the test split, 95 % interval<' in html # letters, not outlines
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(set(ids)) == len(ids)

def stored():
    "Of each picture that a notebook stores: where, the cell's source, and the picture"
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        for c in json.loads(path.read_text(encoding='utf-8'))['cells']:
            for o in c.get('outputs', []):
                if png := o.get('data', {}).get('image/png'):
                    where = f"{path.relative_to(ROOT/'nbs')}: {c['id']}"
                    yield where, ''.join(c['source']), Image.open(io.BytesIO(base64.b64decode(''.join(png))))

def test_every_stored_picture_says_in_words_what_it_shows():
    texts = {where: re.search(r'^#\| fig-alt: "(.+)"$', source, re.M) for where,source,_ in stored()}
    assert len(texts) > 40 and [o for o in texts if not texts[o]] == []
    assert [o for o in texts if len(texts[o][1]) < 20] == []

def test_stored_pictures_are_no_white_boxes_on_a_dark_page():
    def is_white(im):
        im = im.convert('RGBA')
        corners = [im.getpixel((x, y)) for x in (0, im.width - 1) for y in (0, im.height - 1)]
        return corners.count((255, 255, 255, 255)) > 1
    assert [where for where,_,im in stored() if is_white(im)] == []
