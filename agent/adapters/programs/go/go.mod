module weir.dev/pipe

go 1.26.0

require golang.org/x/sys v0.35.0
