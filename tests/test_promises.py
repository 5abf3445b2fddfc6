"""What the board promises: chosen on valid, reported on test, nothing said that was not tested. Each test names the
fault that it would see."""
import json

import numpy as np
import pytest
from fashion_bench.results.board import caveats, summarize
from fashion_bench.results.leaderboard import board_text, leaderboard
from fashion_bench.results.records import correct_answers, load_runs
from fashion_bench.results.schedules import budgets
from fashion_bench.results.verdict import verdict

def predictions(parts, truth, groups=None):
    "Predictions of which in each of `parts` so large a share is right; who is better is right wherever the worse is"
    n, n_classes = len(truth), truth.max() + 1
    order = np.random.default_rng(3).permutation(n)
    said = [np.where(order < round(a*n), truth, (truth + 1) % n_classes) for a in parts.values()]
    out = dict(image=np.array([f'{k}/{i}.jpg' for k in parts for i in range(n)]), split=np.repeat(list(parts), n),
               target=np.concatenate([truth]*len(parts)), probs=np.eye(n_classes)[np.concatenate(said)])
    return out if groups is None else out | dict(group=np.concatenate([groups]*len(parts)))

def record(folder, parts, spec):
    "What `run.json` holds of a run with the accuracies `parts`"
    figures = {f'{k}_accuracy': v for k,v in parts.items()}
    return dict(folder=folder, status='finished', spec=spec, source=dict(weights='pretrained', tag=''),
                environment=dict(device='cpu'), data=dict(source='a shop', classes=list('abcd')),
                figures=figures | dict(minutes_per_epoch=1., compute_minutes_per_epoch=1.))

def write_runs(root, accuracies, n=400, seeds=1, targets=None, data='f00d', groups=None, **spec):
    "A run folder per model and seed; `accuracies` is {model: (valid, test or None)}, met exactly"
    truth = np.arange(n) % 4 if targets is None else targets
    for model, by_split in accuracies.items():
        parts = {k: v for k,v in zip(('valid', 'test'), by_split) if v is not None}
        about = dict(data=data, model=f'timm/{model}', weights='pretrained', recipe='fine_tune(3)', size=96)
        for seed in range(seeds):
            d = root/f'{data}-{model}-{seed}'
            d.mkdir(parents=True)
            np.savez(d/'predictions.npz', **predictions(parts, truth, groups))
            (d/'run.json').write_text(json.dumps(record(d.name, parts, about | dict(seed=seed) | spec)))
    return root

def test_models_are_in_the_order_of_validation_whatever_the_test_says(tmp_path):
    "The board sorted by test accuracy"
    board = leaderboard(write_runs(tmp_path, dict(one=(.9, .5), two=(.7, .6), three=(.5, .9))))
    assert board.model.tolist() == ['one', 'two', 'three'] and board['rank'].tolist() == ['1', '2', '3']
    assert board.accuracy.tolist() == [.5, .6, .9] and set(board.split) == {'test'}
    assert board.valid_accuracy.tolist() == [.9, .7, .5]
    assert 'one came out first on the validation split, and has an accuracy of 50.0 %' in verdict(tmp_path)[0]

def test_ties_are_those_of_the_validation_split(tmp_path):
    "Places, chances or verdict from the test split"
    apart_on_test = write_runs(tmp_path/'a', dict(one=(.701, .9), two=(.70, .5)))
    assert leaderboard(apart_on_test)['rank'].tolist() == ['1-2', '1-2']
    assert 'cannot be told apart from two' in verdict(apart_on_test)[1]
    assert summarize(apart_on_test).chance_best.max() < .9
    apart_on_valid = write_runs(tmp_path/'b', dict(one=(.9, .701), two=(.5, .70)))
    assert leaderboard(apart_on_valid)['rank'].tolist() == ['1', '2']
    assert 'larger than chance explains' in verdict(apart_on_valid)[1]
    assert summarize(apart_on_valid).chance_best.max() > .99

def test_intervals_are_of_the_figure_beside_them(tmp_path):
    "An interval of the validation accuracy beside a test accuracy"
    df = leaderboard(write_runs(tmp_path, dict(one=(.9, .5), two=(.7, .6))))
    assert ((df.low < df.accuracy) & (df.accuracy < df.high)).all() and (df.high < .69).all()

def test_all_rows_show_one_split(tmp_path):
    "Test figures where another row has none"
    write_runs(tmp_path, dict(one=(.9, .5), two=(.7, .6)))
    write_runs(tmp_path, dict(three=(.8, None)))
    board = leaderboard(tmp_path)
    assert set(board.split) == {'valid'} and board.accuracy.tolist() == [.9, .8, .7]
    assert 'valid_accuracy' not in board and 'Accuracy is on the validation split.' in board_text(board)
    assert any('Some runs have no test split' in o for o in caveats(tmp_path))

def test_other_labels_of_the_same_images_are_other_answers(tmp_path):
    "A verdict between two labellings: of one number of classes, and of several, which once ended in an array error"
    for i, truth in enumerate((np.arange(400) % 3, np.arange(400) % 10, (np.arange(400) + 1) % 4)):
        out = write_runs(tmp_path/str(i), dict(one=(.9, .9), other=(.9, .9)))
        write_runs(out, dict(two=(.5, .5)), targets=truth)
        board = leaderboard(out).set_index('model')
        assert board['rank'].to_dict() == dict(one='1-3', other='1-3', two='?'), i
        assert board.note['two'].startswith('its predictions are of other images or labels')
        assert np.isnan(board.low['two'])
        assert 'larger than chance' not in ' '.join(verdict(out))

def test_runs_on_other_data_are_no_row_of_this_board(tmp_path):
    "One board, one verdict, one table of schedules over two sets of data"
    write_runs(tmp_path, dict(one=(.9, .9), two=(.8, .8)))
    write_runs(tmp_path, dict(three=(.5, .5)), data='beef')
    says = 'on 2 sets of data.*(f00d .*2 runs.*beef|beef .*1 run.*f00d)'
    for f in (leaderboard, verdict, budgets):
        with pytest.raises(ValueError, match=says): f(tmp_path)

def test_a_file_that_is_missing_costs_no_other_row_its_place(tmp_path):
    "Ties that become sure ranks"
    write_runs(tmp_path, dict(one=(.7, .7), two=(.7, .7), three=(.7, .7)))
    assert leaderboard(tmp_path)['rank'].tolist() == ['1-3']*3
    (tmp_path/'f00d-two-0/predictions.npz').unlink()
    board = leaderboard(tmp_path).set_index('model')
    assert board['rank'].to_dict() == dict(one='1-3', two='?', three='1-3')
    assert 'Nothing is known of two' in verdict(tmp_path)[1]
    (tmp_path/'f00d-one-0/predictions.npz').write_bytes(b'PK\x03\x04 cut off')
    assert leaderboard(tmp_path).set_index('model')['rank'].to_dict() == dict(one='?', two='?', three='1-3')

def test_a_clear_winner_is_one_and_no_interval_has_no_width(tmp_path):
    "No spread taken for no difference"
    board = leaderboard(write_runs(tmp_path, dict(all=(1., 1.), none=(0., 0.)), n=40))
    assert board['rank'].tolist() == ['1', '2'] and (board.high - board.low > .05).all()

def test_seeds_of_one_model_are_one_row_and_say_so(tmp_path):
    "Assumed spreads that look measured"
    several = write_runs(tmp_path/'a', dict(one=(.9, .9), two=(.7, .7)), seeds=3)
    assert set(leaderboard(several).seed_spread) == {'own'} and 'assumed' not in board_text(leaderboard(several))
    lone = leaderboard(write_runs(tmp_path/'b', dict(one=(.9, .9), two=(.7, .7))))
    assert set(lone.seed_spread) == {'assumed'} and '1 (assumed)' in board_text(lone)
    write_runs(tmp_path/'a', dict(three=(.5, .5)))
    assert leaderboard(several).seed_spread.tolist() == ['own', 'own', 'of others']

def test_intervals_and_places_are_over_products(tmp_path):
    "Photos of one product taken for independent: in the interval, in the places, in the chances"
    groups = np.argsort(np.argsort(np.random.default_rng(3).permutation(400)))//20 # right is right on whole products
    accuracies = dict(one=(.8, .8), two=(.7, .7))
    alone = leaderboard(write_runs(tmp_path/'a', accuracies))
    together = leaderboard(write_runs(tmp_path/'b', accuracies, groups=groups))
    assert (together.high - together.low > 2*(alone.high - alone.low)).all()
    assert (together.products == 20).all() and 'products' not in alone
    assert alone['rank'].tolist() == ['1', '2'] and together['rank'].tolist() == ['1-2', '1-2']
    a, b = (summarize(tmp_path/k).chance_best[0] for k in 'ab')
    assert a > .99 > b
    assert 'Intervals over 20 products: under 30 they mean little.' in board_text(together)

def test_what_differs_in_nothing_but_the_seed_is_one_entry(tmp_path):
    "Two files of weights, or a field that was added to the spec, averaged as seeds or dropped as copies"
    extras = dict(weights_hash='1f'), dict(deterministic=True), dict(protocol=7), dict(a_field_of_tomorrow=3)
    for i, extra in enumerate(extras):
        out = write_runs(tmp_path/str(i), dict(one=(.9, .9)))
        write_runs(out/'more', dict(one=(.5, .5)), **extra)
        runs = load_runs([out, out/'more'])
        assert len(leaderboard(runs)) == 2 and len(set(correct_answers(runs))) == 2, extra
        assert not any('counted once' in o for o in caveats(runs)), extra
