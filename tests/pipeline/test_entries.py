"""Models in the cache."""


def test_a_damaged_model_in_the_cache_is_trained_again(run, outputs, caplog, tmp_path):
    own = ("method=head", "reference=none", f"outputs={tmp_path / 'own'}")
    first = run(*own, folder="one")
    (weights,) = (tmp_path / "own").glob("cache/original/*/weights.safetensors")
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    again = run(*own, folder="two")
    assert "damaged" in caplog.text
    assert again["metrics"] == first["metrics"]
