"""For developers' `alembic` command only; the program runs its migrations by `mailer.migrations.runner`."""
