from easydistill.cli.main import main

main()
