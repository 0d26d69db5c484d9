from tfsegkd.commands.train import run

run()
