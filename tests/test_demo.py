"The README's first command, as a newcomer meets it."
from fashion_bench.results import load_runs
from test_cli import fashion_bench

def test_demo_ranks_three_models_and_the_pretrained_ones_lead(tmp_path):
    r = fashion_bench('demo', '--out', tmp_path/'demo')
    assert r.returncode == 0, r.stdout + r.stderr
    runs = load_runs(tmp_path/'demo').sort_values('valid_accuracy', ascending=False)
    assert runs.weights.tolist() == ['pretrained in1k', 'pretrained in1k', 'scratch']
    assert .95 > runs.valid_accuracy.iloc[0] and runs.valid_accuracy.iloc[1] > runs.valid_accuracy.iloc[2] + .1
    assert (tmp_path/'demo/efficiency.png').exists()
