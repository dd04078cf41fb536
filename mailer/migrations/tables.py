"""Imports every table, so that the metadata is whole."""

import lists.models  # noqa: F401 - imported for its tables, as are those below
import mailer.circulars.models
import mailer.delivery.models
import mailer.facts
import mailer.register.models
import mailer.replies.models
import mailer.schedule.models  # noqa: F401 - as the first
from lists.db import Base

metadata = Base.metadata
