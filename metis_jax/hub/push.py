"""A bundle becomes a repository of the hub, with a card, by the hub's own client (extra `hub`)."""

from metis_jax.weights.bundle import CONFIG_FILE, Bundle
from metis_jax.weights.card import model_card
from metis_jax.weights.hub import client, one_line
from metis_jax.weights.tensor_files import WeightsError

CARD = "README.md"


def push(bundle: Bundle, name: str, *, private: bool = False, figures: str = "") -> str:
    """Uploads what a bundle is made of, and its card, in one commit; the address of the commit.

    The repository is made where there is none.  What lies beside the components in the folder stays here.  WeightsError
    for a component that is not there, before anything is sent, and for what the hub refuses.

    Args:
      name: OWNER/NAME.
      figures: Markdown for the card, as a table of evaluate.py.
    """
    files = {component: bundle.file(component).path for component in bundle.components}
    hub = client(f"hub:{name}")
    card = model_card(bundle, name, figures)
    operations = [
        hub.CommitOperationAdd(CARD, card.encode()),
        hub.CommitOperationAdd(CONFIG_FILE, str(bundle.path / CONFIG_FILE)),
        *(hub.CommitOperationAdd(path.name, str(path)) for path in files.values()),
    ]
    try:
        api = hub.HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        return str(api.create_commit(name, operations, commit_message="metis_jax bundle").commit_url)
    except Exception as error:  # the library raises its own, requests' and httpx's errors
        raise WeightsError(f"hub:{name}: upload failed ({one_line(error)})") from None
