// The guests in Go for the host. They need nothing but the standard library, so there is no go.sum.
module native

go 1.21
