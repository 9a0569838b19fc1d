"""Pickles that call something: what published attacks, advisories and scanners' own tests call, one sample each.

A deny-list knows most of these by name, and no deny-list knows them all: that is why they are all here.
"""

from __future__ import annotations

from functools import partial

from tests.support.corpus.assembler import Call, Name, assemble
from tests.support.corpus.sample import Sample

_CODE = "0"
_COMMAND = "true"
_NESTED = assemble(Call("os", "system", _COMMAND), 2)

# (module, name, arguments); the protocol goes round so that all of them are used.
_CALLS: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    # the shell and other programs
    ("os", "system", (_COMMAND,)),
    ("os", "popen", (_COMMAND,)),
    ("os", "execv", ("/bin/true", ["true"])),
    ("os", "posix_spawn", ("/bin/true", ["true"], {})),
    ("os", "spawnlp", (0, "true", "true")),
    ("os", "startfile", ("true",)),
    ("posix", "system", (_COMMAND,)),
    ("nt", "system", (_COMMAND,)),
    ("subprocess", "Popen", (["true"],)),
    ("subprocess", "run", (["true"],)),
    ("subprocess", "call", (["true"],)),
    ("subprocess", "check_output", (["true"],)),
    ("subprocess", "getoutput", (_COMMAND,)),
    ("commands", "getoutput", (_COMMAND,)),
    ("_posixsubprocess", "fork_exec", ()),
    ("pty", "spawn", ("true",)),
    ("multiprocessing.util", "spawnv_passfds", (b"/bin/true", [b"true"], ())),
    ("asyncio", "create_subprocess_shell", (_COMMAND,)),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start", ({}, _COMMAND, True, None, None, None, 0)),
    ("platform", "popen", (_COMMAND,)),
    ("webbrowser", "open", ("about:blank",)),
    ("pydoc", "pipepager", ("", _COMMAND)),
    ("distutils.spawn", "spawn", (["true"],)),
    ("numpy.distutils.exec_command", "exec_command", (_COMMAND,)),
    ("imaplib", "IMAP4_stream", (_COMMAND,)),
    ("uuid", "_get_command_stdout", ("true",)),
    ("_osx_support", "_read_output", (_COMMAND,)),
    ("_aix_support", "_read_cmd_output", (_COMMAND,)),
    ("test.support.script_helper", "assert_python_ok", ("-c", _CODE)),
    ("_pyrepl.pager", "pipe_pager", ("", _COMMAND)),
    # code as text
    ("builtins", "eval", (_CODE,)),
    ("builtins", "exec", (_CODE,)),
    ("builtins", "compile", (_CODE, "", "eval")),
    ("__builtin__", "eval", (_CODE,)),
    ("__builtin__", "execfile", ("/dev/null",)),
    ("code", "interact", ()),
    ("code", "InteractiveInterpreter.runcode", ({}, _CODE)),
    ("codeop", "compile_command", (_CODE,)),
    ("runpy", "_run_code", (_CODE, {})),
    ("runpy", "run_path", ("/dev/null",)),
    ("bdb", "Bdb.run", ({}, _CODE)),
    ("pdb", "run", (_CODE,)),
    ("trace", "Trace.run", ({}, _CODE)),
    ("profile", "run", (_CODE,)),
    ("profile", "Profile.runctx", ({}, _CODE, {}, {})),
    ("cProfile", "run", (_CODE,)),
    ("cProfile", "runctx", (_CODE, None, None)),
    ("timeit", "timeit", (_CODE, _CODE)),
    ("doctest", "debug_script", (_CODE, True)),
    ("lib2to3.pgen2.pgen", "ParserGenerator.make_label", (None, {}, _CODE)),
    ("lib2to3.pgen2.grammar", "Grammar.loads", ({}, b"")),
    ("idlelib.run", "Executive.runcode", ({}, _CODE)),
    ("idlelib.pyshell", "ModifiedInterpreter.runcommand", ({}, _CODE)),
    ("idlelib.autocomplete", "AutoComplete.get_entity", ({}, _CODE)),
    ("idlelib.calltip", "get_entity", (_CODE,)),
    ("idlelib.debugobj", "ObjectTreeItem.SetText", ({}, _CODE)),
    ("ensurepip", "_run_pip", (["--version"],)),
    ("pip", "main", (["--version"],)),
    ("venv", "create", ("/dev/null",)),
    ("numpy.testing._private.utils", "runstring", (_CODE, {})),
    ("numpy.f2py.crackfortran", "getlincoef", (_CODE, [])),
    ("numpy.f2py.crackfortran", "_eval_scalar", (_CODE, {})),
    ("pandas.core.computation.eval", "eval", (_CODE,)),
    ("sympy.parsing.sympy_parser", "parse_expr", (_CODE,)),
    ("torch.utils.bottleneck.__main__", "run_cprofile", (_CODE, {})),
    ("torch._dynamo.guards", "GuardBuilder.get", ({}, _CODE)),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression", ({}, _CODE, [])),
    ("torch.utils.collect_env", "run", (_COMMAND,)),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", (_CODE, {}, {})),
    ("torch._inductor.codecache", "compile_file", ("", "", ["true"])),
    ("torch.fx.graph_module", "_forward_from_src", (_CODE, {})),
    ("torch.utils.cpp_extension", "load_inline", ("x", "")),
    # unpickling and loading again, where nobody looks
    ("pickle", "loads", (_NESTED,)),
    ("_pickle", "loads", (_NESTED,)),
    ("cPickle", "loads", (_NESTED,)),
    ("dill", "loads", (_NESTED,)),
    ("cloudpickle", "loads", (_NESTED,)),
    ("joblib", "load", ("other.joblib",)),
    ("numpy", "load", ("other.npy", None, True)),
    ("pandas", "read_pickle", ("other.pkl",)),
    ("torch", "load", ("other.pt",)),
    ("torch.serialization", "load", ("other.pt",)),
    ("torch.storage", "_load_from_bytes", (_NESTED,)),
    ("torch.hub", "load", ("acme/model", "model")),
    ("torch.jit", "load", ("other.pt",)),
    ("torch.utils.data.datapipes.utils.decoder", "basichandlers", ("pickle", _NESTED)),
    ("torch.utils._config_module", "ConfigModule.load_config", ({}, _NESTED)),
    ("shelve", "open", ("other",)),
    ("marshal", "loads", (b"\xe9\0\0\0\0",)),
    ("yaml", "unsafe_load", ("a: 1",)),
    ("jsonpickle", "decode", ("{}",)),
    # imports and lookups that lead anywhere
    ("builtins", "__import__", ("os",)),
    ("builtins", "getattr", (Call("importlib", "import_module", "os"), "system")),
    ("importlib", "import_module", ("antigravity",)),
    ("importlib.util", "spec_from_file_location", ("x", "/dev/null")),
    ("imp", "load_source", ("x", "/dev/null")),
    ("zipimport", "zipimporter", ("x.zip",)),
    ("pkgutil", "resolve_name", ("os:system",)),
    ("pydoc", "locate", ("os.system",)),
    ("operator", "methodcaller", ("system", _COMMAND)),
    ("operator", "attrgetter", ("system",)),
    ("sys", "modules.__getitem__", ("os",)),
    ("ctypes", "CDLL", (None,)),
    ("ctypes", "cast", (0, Name("ctypes", "c_void_p"))),
    ("_ctypes", "dlopen", ("libc.so.6", 0)),
    ("cffi", "FFI", ()),
    ("types", "FunctionType", (Call("marshal", "loads", b"\xe9\0\0\0\0"), {})),
    ("types", "CodeType", ()),
    ("dill._dill", "_create_function", (Call("dill._dill", "_create_code"), {})),
    ("cloudpickle.cloudpickle", "_make_function", (Call("cloudpickle.cloudpickle", "_builtin_type", "CodeType"),)),
    ("functools", "partial", (Name("os", "system"), _COMMAND)),
    ("builtins", "map", (Name("os", "system"), [_COMMAND])),
    ("threading", "Timer", (0, Name("os", "system"), [_COMMAND])),
    ("_thread", "start_new_thread", (Name("os", "system"), (_COMMAND,))),
    ("atexit", "register", (Name("os", "system"), _COMMAND)),
    ("signal", "signal", (1, Name("os", "system"))),
    ("gc", "get_objects", ()),
    # the network and files
    ("socket", "create_connection", (("127.0.0.1", 9),)),
    ("requests.api", "get", ("http://127.0.0.1:9",)),
    ("urllib.request", "urlopen", ("http://127.0.0.1:9",)),
    ("httplib", "HTTPSConnection", ("127.0.0.1",)),
    ("http.client", "HTTPSConnection", ("127.0.0.1",)),
    ("aiohttp.client", "ClientSession", ()),
    ("ssl", "get_server_certificate", (("127.0.0.1", 9),)),
    ("ftplib", "FTP", ("127.0.0.1",)),
    ("smtplib", "SMTP", ("127.0.0.1",)),
    ("logging.config", "listen", (0,)),
    ("logging", "FileHandler", ("/dev/null",)),
    ("io", "open", ("/dev/null", "w")),
    ("io", "FileIO", ("/dev/null", "r")),
    ("builtins", "open", ("/dev/null", "w")),
    ("pathlib", "Path.write_text", ({}, "")),
    ("linecache", "getline", ("/dev/null", 1)),
    ("shutil", "rmtree", ("/dev/null",)),
    ("os", "remove", ("/dev/null",)),
    ("distutils.file_util", "write_file", ("/dev/null", [])),
    ("tempfile", "mktemp", ()),
    ("sqlite3", "connect", (":memory:",)),
    ("sys", "exit", (0,)),
)  # fmt: skip


def samples() -> list[Sample]:
    """One sample a call, the protocols 0 to 5 in turn, and the gravest call in every protocol."""
    made = [
        Sample(f"call-{module}-{name}.pkl", partial(assemble, Call(module, name, *arguments), at % 6), "pickle.")
        for at, (module, name, arguments) in enumerate(_CALLS)
    ]
    made += [
        Sample(f"protocol-{protocol}.pkl", partial(assemble, Call("os", "system", _COMMAND), protocol), "pickle.")
        for protocol in range(6)
    ]
    return made
