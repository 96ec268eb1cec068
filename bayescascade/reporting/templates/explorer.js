"use strict";
// The explorer: picks a point of the frontier for a price of an error, or for an error target. It computes nothing
// but that; every text comes ready from the page. Text is set as text, never as markup.
(function () {
  var read = function (id) { return document.getElementById(id); };
  var data = JSON.parse(read("explorer-data").textContent);
  var points = data.points, price = read("explorer-price"), target = read("explorer-target");
  var ratio = Math.log(data.price.high / data.price.low);

  function priceAt(step) { return data.price.low * Math.exp(ratio * step / data.price.steps); }
  function stepOf(amount) { return Math.round(data.price.steps * Math.log(amount / data.price.low) / ratio); }
  function short(amount) { return String(Number(amount.toPrecision(3))); }
  function percent(share) { return (100 * share).toFixed(1) + "%"; }

  // least expected loss, error times price and cost
  function forPrice(amount) {
    var best = 0, least = Infinity;
    points.forEach(function (point, i) {
      var loss = point.error * amount + point.cost;
      if (loss < least) { least = loss; best = i; }
    });
    return best;
  }

  // points stand by rising cost: the first that keeps the target is the cheapest
  function forTarget(share) {
    var nearest = 0;
    for (var i = 0; i < points.length; i += 1) {
      if (points[i].kept <= share) { return { point: i, kept: true }; }
      if (points[i].kept < points[nearest].kept) { nearest = i; }
    }
    return { point: nearest, kept: false };
  }

  function label(input, output, text) {
    input.setAttribute("aria-valuetext", text);
    output.textContent = text;
  }

  function show(index, lead) {
    var point = points[index];
    point.rows.forEach(function (cells, stage) {
      cells.forEach(function (cell, column) {
        read("explorer-cell-" + stage + "-" + column).textContent = cell;
      });
    });
    read("explorer-error").textContent = point.errorText;
    read("explorer-cost").textContent = point.costText;
    read("explorer-kept").textContent = percent(point.kept);
    read("explorer-answer").textContent = lead + " " + point.sentence;
    var marker = document.querySelector("#explorer-figure .marker");
    marker.setAttribute("visibility", "visible");
    marker.querySelector("path").setAttribute("d", point.bars);
    marker.querySelector("circle").setAttribute("cx", point.x);
    marker.querySelector("circle").setAttribute("cy", point.y);
  }

  function byPrice() {
    var amount = priceAt(Number(price.value)), index = forPrice(amount);
    target.value = points[index].kept;
    label(price, read("explorer-price-value"), short(amount));
    label(target, read("explorer-target-value"), percent(Number(target.value)));
    show(index, "Best where an error costs " + short(amount) + ":");
  }

  function byTarget() {
    var share = Number(target.value), found = forTarget(share);
    var best = points[found.point].price !== null;
    if (best) { price.value = stepOf(points[found.point].price); }
    label(target, read("explorer-target-value"), percent(share));
    label(price, read("explorer-price-value"), best ? short(priceAt(Number(price.value))) : "best at no price");
    show(found.point, found.kept ? "Cheapest that keep an error of at most " + percent(share) + ":"
      : "No thresholds keep an error of at most " + percent(share) + "; the least that any keep is "
        + percent(points[found.point].kept) + ":");
  }

  price.addEventListener("input", byPrice);
  target.addEventListener("input", byTarget);
  read("explorer").hidden = false;
  byPrice();
  // the page opens at the thresholds that it is about
  if (data.own >= 0) {
    target.value = points[data.own].kept;
    label(target, read("explorer-target-value"), percent(points[data.own].kept));
    show(data.own, "The thresholds of this report:");
  }
}());
