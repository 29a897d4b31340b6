# A lock file with the plain build of torch, as one with its CPU build: no CUDA, and another wheel's hash. The index
# of that build is the reader's to name.
/^[a-z]/ { skip = /^(nvidia-|triton==)/; torch = /^torch==/ }
skip { next }
torch && /^torch==/ {
    if ($1 != "torch==2.9.0") { print "cpu.awk knows the hash of torch 2.9.0 only" > "/dev/stderr"; exit 1 }
    print "torch==2.9.0+cpu \\"
    # cp311, manylinux_2_28_x86_64
    print "    --hash=sha256:add3e93ecc1eeaa6853f6a973ce60ffb3cb14ed2e80f5055e139b09385dce0a7"
}
torch && (/^torch==/ || /--hash/) { next }
{ print }
