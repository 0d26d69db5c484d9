from tfsegkd.commands.predict import run

run()
