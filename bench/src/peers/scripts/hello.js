// What the guest hello does, as workerd's users write it.
export default {
  fetch() {
    return new Response("Hello, world!", { headers: { "content-type": "text/plain" } });
  },
};
