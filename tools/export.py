from tfsegkd.commands.export import run

run()
