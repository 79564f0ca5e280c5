addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

function handle(request) {
  const { pathname } = new URL(request.url);
  return new Response(`Hello from JavaScript, at ${pathname}\n`, { headers: { 'content-type': 'text/plain' } });
}
