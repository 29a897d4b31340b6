from octjob.api import diagnose as diagnose
from octjob.api import load_encoder as load_encoder
from octjob.api import open_sweep as open_sweep
from octjob.api import plan as plan
from octjob.api import read_volume as read_volume
from octjob.api import submit as submit

__version__: str
