from tfsegkd.commands.evaluate import run

run()
