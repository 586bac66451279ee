// Support: what the broker's tests share.

import EmbeddedBroker
