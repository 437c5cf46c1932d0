# Version 2 needs this package; the stand-in only needs it to be there.
