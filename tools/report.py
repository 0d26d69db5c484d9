from tfsegkd.commands.report import run

run()
