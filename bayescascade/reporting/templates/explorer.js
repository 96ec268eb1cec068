"use strict";
// The explorer: picks a point of the frontier, by its place on the line, by an error limit, or by what an error costs.
// It computes nothing but that; every text comes ready from the page. Text is set as text, never as markup.
(function () {
  var read = function (id) { return document.getElementById(id); };
  var data = JSON.parse(read("explorer-data").textContent);
  var points = data.points, last = points.length - 1;
  var place = read("explorer-place"), target = read("explorer-target"), price = read("explorer-price");
  var markers = document.querySelectorAll("#explorer-figure .marker");
  var here = data.start, link = "";

  function short(amount) { return String(Number(amount.toPrecision(3))); }
  function percent(share) { return (100 * share).toFixed(1); }

  // least expected loss, error times price and cost
  function forPrice(amount) {
    var best = 0, least = Infinity;
    points.forEach(function (point, i) {
      var loss = point.error * amount + point.cost;
      if (loss < least) { least = loss; best = i; }
    });
    return best;
  }

  // points stand by rising cost: the first that keeps the limit is the cheapest
  function forTarget(share) {
    var nearest = 0;
    for (var i = 0; i < points.length; i += 1) {
      if (points[i].kept <= share) { return { point: i, kept: true }; }
      if (points[i].kept < points[nearest].kept) { nearest = i; }
    }
    return { point: nearest, kept: false };
  }

  function show(index, lead, asked) {
    var point = points[index];
    here = index;
    link = asked;
    point.rows.forEach(function (cells, stage) {
      cells.forEach(function (cell, column) {
        read("explorer-cell-" + stage + "-" + column).textContent = cell;
      });
    });
    read("explorer-error").textContent = point.errorText;
    read("explorer-cost").textContent = point.costText;
    read("explorer-kept").textContent = percent(point.kept) + "%";
    read("explorer-answer").textContent = lead + " " + point.sentence;
    read("explorer-policy").textContent = point.policy;
    read("explorer-save").setAttribute("href", "data:application/json;charset=utf-8," + encodeURIComponent(point.policy));
    read("explorer-copied").textContent = "";
    place.value = String(index);
    place.setAttribute("aria-valuetext", point.short);
    point.places.forEach(function (at, i) {
      markers[i].setAttribute("visibility", "visible");
      markers[i].querySelector("path").setAttribute("d", at.bars);
      markers[i].querySelector("circle").setAttribute("cx", at.x);
      markers[i].querySelector("circle").setAttribute("cy", at.y);
    });
  }

  // what was not asked for follows
  function follow(index, of) {
    if (of !== target) { target.value = percent(points[index].kept); }
    if (of !== price) { price.value = points[index].price === null ? "" : short(points[index].price); }
  }

  function byPlace() {
    var index = Math.max(0, Math.min(last, Number(place.value)));
    follow(index, place);
    show(index, index === data.own ? "The thresholds of this report:" : "At this point:", "point=" + index);
  }

  function byTarget() {
    var share = Number(target.value) / 100;
    if (!target.value || !(share > 0)) { return; }
    var found = forTarget(share + 5e-5); // what is shown is rounded
    follow(found.point, target);
    show(found.point, found.kept ? "Cheapest thresholds with error ≤ " + short(100 * share) + "%:"
      : "The lowest error you can be sure of is " + percent(points[found.point].kept) + "%. Its thresholds:",
      "error=" + short(100 * share));
  }

  function byPrice() {
    var amount = Number(price.value);
    if (!price.value || !(amount >= 0)) { return; }
    var index = forPrice(amount);
    follow(index, price);
    show(index, "Best if a wrong answer costs " + short(amount) + ":", "price=" + short(amount));
  }

  function reset() {
    place.value = String(data.start);
    byPlace();
  }

  function toClipboard(text, said) {
    var tell = function () { read("explorer-copied").textContent = said; };
    var byHand = function () { read("explorer-copied").textContent = "The browser does not allow copying; open “What is copied”."; };
    if (navigator.clipboard) { navigator.clipboard.writeText(text).then(tell, byHand); } else { byHand(); }
  }

  // a link to a point is the address of the page and what was asked for
  function fromLink() {
    var asked = /^#(point|error|price)=([0-9.eE+-]+)$/.exec(location.hash);
    if (!asked) { return false; }
    var input = { point: place, error: target, price: price }[asked[1]];
    input.value = asked[2];
    ({ point: byPlace, error: byTarget, price: byPrice })[asked[1]]();
    read("explorer").scrollIntoView();
    return true;
  }

  place.addEventListener("input", byPlace);
  target.addEventListener("input", byTarget);
  price.addEventListener("input", byPrice);
  read("explorer-copy").addEventListener("click", function () { toClipboard(points[here].policy, "Copied, as a policy file."); });
  read("explorer-link").addEventListener("click", function () {
    toClipboard(location.href.split("#")[0] + "#" + link, "Link copied.");
  });
  read("explorer-reset").addEventListener("click", reset);
  window.addEventListener("hashchange", fromLink);
  read("explorer").hidden = false;
  // the page opens at the thresholds that it is about
  reset();
  fromLink();

  // paper shows the table of points; a reader's own choice of what is open comes back afterwards
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.filter.call(document.querySelectorAll("details.open-on-paper"), function (part) { return !part.open; });
    opened.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () { opened.forEach(function (part) { part.open = false; }); });
}());
