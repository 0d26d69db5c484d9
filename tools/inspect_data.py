from tfsegkd.commands.inspect_data import run

run()
