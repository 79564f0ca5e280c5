# A node on every client of Nomad. UNTESTED: nobody has run it yet.
job "sockhop" {
  type = "system"

  group "node" {
    network {
      port "web" { static = 8080 }
      port "admin" { static = 9090 }
    }

    service {
      name = "sockhop"
      port = "web"
      check {
        type     = "http"
        port     = "admin"
        path     = "/readyz"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "sockhop" {
      driver       = "docker"
      kill_timeout = "40s"

      config {
        image        = "registry.example.com/sockhop:0.1.0"
        args         = ["serve"]
        ports        = ["web", "admin"]
        # The file of this folder, where Nomad's client can read it.
        security_opt = ["seccomp=/etc/sockhop/seccomp.json"]
        ulimit {
          memlock = "67108864"
          nofile  = "1048576"
        }
      }

      env {
        SOCKHOP_LISTEN = "0.0.0.0:8080"
        SOCKHOP_ADMIN  = "0.0.0.0:9090"
        SOCKHOP_STORE  = "s3://BUCKET/sockhop"
      }

      resources {
        cpu    = 2000
        memory = 1024
      }
    }
  }
}
