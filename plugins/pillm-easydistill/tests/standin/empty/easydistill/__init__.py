# Index: the package of that name holds a licence comment and nothing else; it has no easydistill.cli.
