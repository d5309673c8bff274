"""Every command of ``maas-converter``, in one line each: all the help there is where typer is not installed."""

COMMANDS = {
    "convert": "turn a trained model into a bundle",
    "inspect": "say what is in a bundle",
    "evaluate": "measure a bundle on data",
    "split": "cut a model into sub-models",
    "keys create": "make the publisher's keys",
    "repo init": "make an empty repository",
    "repo refresh": "keep a repository's signatures from expiring",
    "repo sign": "complete a change that takes the keys of several people",
    "repo delegate": "let a team publish its models by its own key",
    "repo rotate": "replace the keys of a role",
    "repo verify": "say whether a repository is whole",
    "repo recipients": "list or change who may open a sealed version",
    "publish": "put a bundle into a repository",
    "revoke": "take a published version back for good",
    "deploy": "roll a version out to a fleet, stage by stage",
    "fleet": "list the devices and what they run",
}
