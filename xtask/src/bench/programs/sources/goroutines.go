package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
)

// 1,000 goroutines on one lock; then one that never yields: only SIGURG lets the others run.
func goroutines() {
	var wait sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 1000; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			for k := 0; k < 100; k++ {
				lock.Lock()
				sum += i
				lock.Unlock()
				runtime.Gosched()
			}
		}(i)
	}
	wait.Wait()
	fmt.Println(sum)
	runtime.GOMAXPROCS(1)
	spin := 0
	go func() {
		for {
			spin++
		}
	}()
	time.Sleep(50 * time.Millisecond)
	runtime.GC()
	fmt.Println("preempted")
}

// A server, and 20 clients that ask it 50 times each.
func server() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%x", sha256.Sum256([]byte(r.URL.Path)))
	}
	go http.Serve(listener, http.HandlerFunc(handler))
	var wait sync.WaitGroup
	var lock sync.Mutex
	right := 0
	for i := 0; i < 20; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			for k := 0; k < 50; k++ {
				path := fmt.Sprintf("/%d/%d", i, k)
				answer, err := http.Get("http://" + listener.Addr().String() + path)
				if err != nil {
					fmt.Println(err)
					return
				}
				body, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if string(body) == fmt.Sprintf("%x", sha256.Sum256([]byte(path))) {
					lock.Lock()
					right++
					lock.Unlock()
				}
			}
		}(i)
	}
	wait.Wait()
	fmt.Println("right", right)
}

func main() {
	if os.Args[1] == "http" {
		server()
	} else {
		goroutines()
	}
}
