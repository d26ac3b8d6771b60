"""Takes mail with Python's poplib: five messages are there, the first is deleted."""

import os
import poplib
import ssl

USER = os.environ["USER"]
PASSWORD = os.environ["PASSWORD"]
context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])

# A session that breaks off deletes nothing (RFC 1939 §6).
pop = poplib.POP3("localhost", int(os.environ["POP3_PORT"]), timeout=20)
capabilities = pop.capa()
for name in ("STLS", "UIDL", "TOP", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8"):
    assert name in capabilities, (name, capabilities)
pop.stls(context=context)
pop.user(USER)
pop.pass_(PASSWORD)
before = pop.uidl()[1]
assert len(before) == 5, before
pop.dele(2)
pop.close()

pop = poplib.POP3_SSL("localhost", int(os.environ["POP3S_PORT"]), timeout=20, context=context)
try:
    pop.user(USER)
    pop.pass_("wrong")
except poplib.error_proto as error:
    assert b"[AUTH]" in error.args[0], error
else:
    raise AssertionError("a wrong password was taken")
pop.quit()

pop = poplib.POP3_SSL("localhost", int(os.environ["POP3S_PORT"]), timeout=20, context=context)
pop.user(USER)
pop.pass_(PASSWORD)
assert pop.uidl()[1] == before, "unique ids never change"
count, size = pop.stat()
assert count == 5
listed = [int(line.split()[1]) for line in pop.list()[1]]
assert sum(listed) == size
lines = pop.retr(1)[1]
assert b"Subject: pop-0" in lines and b".with a dot" in lines and b"..and two" in lines, lines
assert sum(len(line) + 2 for line in lines) == listed[0], "LIST tells the size in octets"
assert pop.top(1, 1)[1][-1] == b"A body"
pop.dele(1)
for command in (pop.retr, pop.dele):
    try:
        command(1)
    except poplib.error_proto:
        pass
    else:
        raise AssertionError("a deleted message is gone for this session")
# One session at a time (RFC 1939 §4).
other = poplib.POP3_SSL("localhost", int(os.environ["POP3S_PORT"]), timeout=20, context=context)
other.user(USER)
try:
    other.pass_(PASSWORD)
except poplib.error_proto as error:
    assert b"[IN-USE]" in error.args[0], error
else:
    raise AssertionError("two sessions at once")
other.quit()
pop.quit()
