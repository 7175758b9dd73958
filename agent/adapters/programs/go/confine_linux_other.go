//go:build linux && !amd64

package pipe

var deniedHere []denial
