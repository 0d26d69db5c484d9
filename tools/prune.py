from tfsegkd.commands.prune import run

run()
