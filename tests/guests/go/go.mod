// The guests in Go. They need nothing but the standard library, so there is no go.sum.
module guests

go 1.21
