from tfsegkd.commands.verify import run

run()
