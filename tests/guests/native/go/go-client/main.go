// A client of a node: `go-client URL CA-FILE` makes requests with net/http as it is, and prints
// what came of them, a line each.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	url, file := os.Args[1], os.Args[2]
	pem, err := os.ReadFile(file)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: true,
	}
	client := &http.Client{Transport: transport}

	reply, err := client.Get(url + "/hello/")
	check(err)
	text, err := io.ReadAll(reply.Body)
	check(err)
	fmt.Println(reply.Proto, reply.StatusCode, string(text))

	sent := bytes.Repeat([]byte("0123456789abcdef"), 65536)
	var group sync.WaitGroup
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			// Of a length that is not known.
			body := io.MultiReader(bytes.NewReader(sent))
			reply, err := client.Post(url+"/echo/", "application/octet-stream", body)
			check(err)
			got, err := io.ReadAll(reply.Body)
			check(err)
			if !bytes.Equal(got, sent) {
				check(fmt.Errorf("%d bytes came back", len(got)))
			}
		}()
	}
	group.Wait()
	fmt.Println("50 bodies came back")

	request, err := http.NewRequest("POST", url+"/echo/", bytes.NewReader(sent))
	check(err)
	request.Header.Set("Expect", "100-continue")
	reply, err = client.Do(request)
	check(err)
	got, err := io.ReadAll(reply.Body)
	check(err)
	fmt.Println("expected", reply.StatusCode, len(got))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
