// A server on $PORT as people write it in Go, with net/http.
//
// `/` replies `Hello from Go!`, `/echo` with the body, `/stream?mib=N` with N MiB (default 16) of zeros, `/count`
// with the number of bytes of the body, `/trailers` with the body and the request's trailer `x-one` as `x-back-one`,
// `/drip` with five lines 100 ms apart, `/panic` not at all. Any other path replies with method, target, host and the
// address of the client. At SIGTERM it stops once all requests are answered.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", inspect)
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		bytes, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, bytes)
	})
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "x-back-one")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("x-back-one", r.Trailer.Get("x-one"))
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 5; i++ {
			fmt.Fprintf(w, "%d\n", i)
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) {
		panic("a panic of the handler")
	})

	server := &http.Server{Addr: ":" + port, Handler: mux}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	stopped := make(chan struct{})
	go func() {
		<-ctx.Done()
		fmt.Println("told to stop")
		_ = server.Shutdown(context.Background())
		close(stopped)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-stopped
}

func inspect(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		fmt.Fprint(w, "Hello from Go!")
		return
	}
	fmt.Fprintf(w, "%s %s\nhost: %s\nremote: %s\n", r.Method, r.RequestURI, r.Host, r.RemoteAddr)
}

func stream(w http.ResponseWriter, r *http.Request) {
	mib, err := strconv.Atoi(r.URL.Query().Get("mib"))
	if err != nil {
		mib = 16
	}
	piece := make([]byte, 1<<20)
	for i := 0; i < mib; i++ {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}
