from tfsegkd.commands.study import run

run()
