"""Learners of ours under what a fastai user does with a learner: one made by hand, one of a run in this process, and
one made again from the run's folder, whose files stay as they are."""
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib
matplotlib.use('agg')

import matplotlib.pyplot as plt
import numpy as np
import torch
from fastai.vision.all import Callback, ClassificationInterpretation, CSVLogger, SaveModelCallback, load_learner
from fashion_bench.all import bench, fashion_dls, fashion_learner, image_paths, load_table, model_inputs
from fashion_bench.base.errors import InputError
from fashion_bench.base.files import file_digest
from fashion_bench.runs.learner import load_run_learner
from fashion_bench.runs.run import make_spec, run_learner
import pytest

RECIPE = 'ep1_bs8_lr1e-3_mix0.4_acc2' # with callbacks of its own

class Keep(Callback):
    "Keeps the learner that it was with last"
    def after_fit(self): self.kept = self.learn

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "A table, the folder of a run on it, its record, and its learner"
    tmp, keep = tmp_path_factory.mktemp('learner'), Keep()
    with pytest.MonkeyPatch.context() as m:
        m.setenv('FASHION_BENCH_CACHE', str(tmp/'cache'))
        table = load_table('wardrobe', subset='top=4,per_class=16')
        record, = bench(table, 'xresnet18', tmp/'runs', allow_scratch=True, recipe=RECIPE, size=32, num_workers=0,
                        isolate=False, cbs=keep)
    assert record['status'] == 'finished', record
    return SimpleNamespace(table=table, folder=tmp/'runs'/record['folder'], record=record, learn=keep.kept)

def by_hand(run):
    "A learner of `fashion_learner`, trained a little"
    dls = fashion_dls(run.table, **model_inputs('xresnet18', size=32), bs=8, num_workers=0)
    learn = fashion_learner(dls, 'xresnet18', 'scratch')
    learn.fit(1)
    return learn

def of_spec(run):
    "A learner of `run_learner`, not trained so far"
    spec = make_spec(run.record['spec']['data'], 'xresnet18', 'scratch', RECIPE, size=32)
    return run_learner(spec, run.table, num_workers=0)

LEARNERS = dict(by_hand=by_hand, of_spec=of_spec, after_its_run=lambda run: run.learn,
                again=lambda run: load_run_learner(run.folder, run.table, num_workers=0))

@pytest.fixture(scope='module', params=LEARNERS)
def learn(request, run):
    "Each kind of learner, with which all uses are gone through"
    return LEARNERS[request.param](run)

def files(run): return {o: (file_digest(o), o.stat().st_mtime_ns) for o in run.folder.parent.rglob('*') if o.is_file()}

@pytest.fixture(autouse=True)
def untouched(run, tmp_path, monkeypatch):
    "The run's files are as before, whatever a test does in a folder of its own"
    monkeypatch.chdir(tmp_path)
    before = files(run)
    yield
    assert files(run) == before and len(before) > 5
    plt.close('all')

def exported(learn):
    "What `load_learner` makes of `learn`"
    learn.export(Path('model.pkl').absolute())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning) # that a pickle runs what it holds
        return load_learner('model.pkl')

def interpreted(learn):
    "fastai's pictures of where `learn` errs"
    found = ClassificationInterpretation.from_learner(learn)
    found.plot_confusion_matrix()
    found.plot_top_losses(4)
    found.print_classification_report()
    return found

def n_validated(learn): return len(learn.dls.valid.dataset)

def test_validate(learn):
    assert len(learn.validate()) == 2 and len(learn.validate(ds_idx=0)) == 2

def test_get_preds_and_predict(learn, run):
    probs, targets, losses = learn.get_preds(with_loss=True)
    assert probs.shape == (n_validated(learn), 4) and targets.shape == losses.shape == targets.shape
    photos = learn.dls.test_dl(image_paths(run.table)[:3])
    assert learn.get_preds(dl=photos)[0].shape == (3, 4) and learn.tta()[0].shape == probs.shape
    assert learn.predict(image_paths(run.table)[0])[0] in learn.dls.vocab

def test_show_results_and_batch(learn):
    learn.show_results(max_n=4)
    assert len(plt.gcf().axes) == 4 and all(o.get_title() and o.images for o in plt.gcf().axes)
    learn.dls.show_batch(max_n=3)
    assert len([o for o in plt.gcf().axes if o.images]) == 3

def test_interpretation(learn):
    found = interpreted(learn)
    assert found.confusion_matrix().sum() == n_validated(learn) and len(plt.get_fignums()) == 2

def test_lr_find(learn):
    before = learn.model[1][-1].weight.detach().clone()
    assert learn.lr_find(num_it=5, show_plot=False).valley > 0
    assert torch.equal(before, learn.model[1][-1].weight)

def test_a_second_fit_under_callbacks_of_fastai(learn):
    before = learn.model[1][-1].weight.detach().clone()
    learn.fit_one_cycle(1, 1e-3, cbs=[CSVLogger(), SaveModelCallback(monitor='accuracy')])
    learn.fit(1)
    assert Path('history.csv').exists() and Path('models/model.pth').exists() and len(learn.recorder.values) == 1
    assert not torch.equal(before, learn.model[1][-1].weight)

def test_save_and_load(learn):
    learn.save('mine')
    learn.load('mine')
    assert learn.summary()

def test_export(learn, run):
    photo, wanted = image_paths(run.table)[0], None
    there = exported(learn)
    for o in (learn, there):
        found = o.predict(photo)
        if wanted is None: wanted = found
    assert found[0] == wanted[0] and torch.allclose(found[2], wanted[2], atol=.02)
    assert learn.opt and n_validated(learn) # export leaves the learner whole

def test_one_made_again_is_the_one_that_was_measured(run):
    learn = load_run_learner(run.folder, run.table, num_workers=0)
    assert learn.validate()[1] == pytest.approx(run.record['figures']['valid_accuracy'])
    kept = np.load(run.folder/'predictions.npz')
    probs = learn.get_preds()[0].float().numpy()
    assert np.allclose(probs, kept['probs'][kept['split'] == 'valid'], atol=1e-5)
    assert learn.dls.bs == run.record['batch']['at_once'] and learn.source == run.record['source']
    learn.create_opt()
    assert all(p.requires_grad for p in learn.model.parameters())

def test_the_learner_of_a_run_is_free_of_it(run):
    left = {type(o).__name__ for o in run.learn.cbs}
    assert not left & {'RunRecorder', 'Checkpoint', 'EmitEvents'} and {'Keep', 'MixUp', 'ProgressCallback'} <= left
    assert not hasattr(run.learn, 'run_recorder')

def test_other_photos_are_refused(run):
    with pytest.raises(InputError, match='this table is another'): load_run_learner(run.folder, run.table[1:])
